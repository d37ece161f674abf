"""Docker's and Podman's walls by a program that stands for either: it records what it is told, and runs it unconfined.

With a real daemon, tests/test_sandbox.py tries the same backends.
"""

from __future__ import annotations

import io
import os
import signal
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import pytest

from nas_agent.errors import ConfigError, SandboxError
from nas_agent.tools.sandbox import Completed, Job, Limits, Policy, Stopped, WarmSandbox, open_sandbox
from nas_agent.tools.sandbox.backends import UNSAFE, Backend, chosen, obstacle
from nas_agent.tools.sandbox.containers import container

pytestmark = pytest.mark.skipif(obstacle() is not None, reason=f"no sandbox here: {obstacle()}")
BARE = Policy(preload=(), packages=())
ONE = Job("main", source="def main(payload, blob):\n    return 1\n")
LONG = Job("main", source="import time\ndef main(payload, blob):\n    time.sleep(60)\n", limits=Limits(seconds=60.0))

ENGINE = """#!/bin/sh
here=$(dirname "$0")
for word in "$@"; do printf '%s\\n' "$word"; done >> "$here/told"
echo "= $DOCKER_HOST $DOCKER_CONFIG" >> "$here/told"
[ -f "$here/$1.sh" ] && . "$here/$1.sh"
case "$1" in
context) echo unix:///var/run/docker.sock ;;
version) echo 28.2.2 ;;
info) echo '[name=seccomp,profile=builtin]' ;;
import) cat > "$here/image.tar" ;;
run)
    given=""
    until case "$1" in nas-agent-sandbox:*) true ;; *) false ;; esac; do
        [ "$1" = --env ] && given="$given $2"
        shift
    done
    shift
    exec env -i $given "$@" ;;
esac
"""


class Engine:
    """The program, what it is told, and what it does otherwise on one of its commands."""

    def __init__(self, folder: Path, name: str = "docker") -> None:
        folder.mkdir()
        self.folder, self.path = folder, folder / name
        self.path.write_text(ENGINE)
        self.path.chmod(0o755)
        self.backend = Backend(name, engine=str(self.path))

    def on(self, command: str, script: str) -> None:
        (self.folder / f"{command}.sh").write_text(script)

    def told(self, command: str) -> list[list[str]]:
        """The words of each call of one command."""
        text = (self.folder / "told").read_text() if (self.folder / "told").exists() else ""
        calls = [call.splitlines() for call in "\n".join(("", *text.splitlines())).split("\n= ")]
        whole = [calls[0][1:], *(call[1:] for call in calls[1:])]
        return [words for words in whole if words and words[0] == command]

    def walls(self) -> list[str]:
        """Everything that the last container was started with, up to the image."""
        words = self.told("run")[-1]
        return words[: next(i for i, word in enumerate(words) if word.startswith("nas-agent-sandbox:"))]


@pytest.fixture
def docker(tmp_path: Path) -> Engine:
    return Engine(tmp_path / "engine")


@pytest.fixture
def podman(tmp_path: Path) -> Engine:
    return Engine(tmp_path / "engine", "podman")


def value(words: list[str], option: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == option]


# -- what is started ------------------------------------------------------------------------------------------


def test_a_job_runs_in_the_container_and_its_outcome_says_so(docker: Engine) -> None:
    with WarmSandbox(BARE, docker.backend) as one:
        outcome = one.run(ONE)
    assert isinstance(outcome, Completed)
    assert outcome.result == 1
    assert outcome.level.startswith("docker: container, ")


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_the_container_has_no_network_no_rights_and_bounds_on_all_that_it_may_use(tmp_path: Path, name: str) -> None:
    engine = Engine(tmp_path / "engine", name)
    with WarmSandbox(BARE, engine.backend):
        pass
    words = engine.walls()
    assert {"--interactive", "--rm", "--read-only"} <= set(words)
    for option, wanted in {
        "--network": ["none"],
        "--ipc": ["none"],
        "--cap-drop": ["ALL"],
        "--security-opt": ["no-new-privileges", "label=disable"],
        "--log-driver": ["none"],
        "--pull": ["never"],
        "--user": [f"{os.getuid()}:{os.getgid()}"],
    }.items():
        assert value(words, option) == wanted
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < int(value(words, "--memory")[0]) == int(value(words, "--memory-swap")[0]) < memory
    assert 0 < int(value(words, "--pids-limit")[0]) <= 512
    assert 1 <= int(value(words, "--cpus")[0]) <= 2
    assert "--privileged" not in words
    (scratch,) = value(words, "--tmpfs")
    assert "nas-agent-sandbox-" in scratch
    assert all(option in scratch for option in ("nosuid", "nodev", "noexec", "size="))


def test_everything_that_is_mounted_can_only_be_read_and_is_what_the_policy_names(docker: Engine) -> None:
    with WarmSandbox(BARE, docker.backend):
        pass
    mounts = value(docker.walls(), "--mount")
    assert mounts
    assert all(mount.startswith("type=tmpfs,") or mount.endswith(",readonly") for mount in mounts)
    assert not any("docker.sock" in mount or f"source={Path.home()}," in mount for mount in mounts)


def test_nothing_of_the_environment_is_passed_on_and_no_proxy_of_the_users_configuration(
    docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_TEST_KEY", "sk-secret")
    monkeypatch.setenv("DOCKER_CONTEXT", "mine")
    with WarmSandbox(BARE, docker.backend) as one:
        outcome = one.run(Job("main", source="import os\ndef main(p, b):\n    return dict(os.environ)\n"))
    assert isinstance(outcome, Completed)
    assert "SANDBOX_TEST_KEY" not in outcome.result  # type: ignore[operator]
    text = (docker.folder / "told").read_text()
    assert "sk-secret" not in text
    # Docker's client puts the proxies of its configuration into every container, so that it is given an empty folder.
    name = value(docker.told("run")[0], "--name")[0]
    assert any(line.startswith("= unix:///") and line.endswith(f"/{name}") for line in text.splitlines())


def test_podman_is_kept_from_adding_what_docker_does_not(podman: Engine) -> None:
    with WarmSandbox(BARE, podman.backend) as one:
        assert isinstance(one.run(ONE), Completed)
    added = {"--http-proxy=false", "--env-host=false", "--unsetenv-all", "--read-only-tmpfs=false", "--passwd=false"}
    assert added <= set(podman.walls())
    assert podman.told("context") == podman.told("info") == []


def test_the_image_is_made_of_links_and_only_where_there_is_none(docker: Engine) -> None:
    with WarmSandbox(BARE, docker.backend):
        pass
    with tarfile.open(fileobj=io.BytesIO((docker.folder / "image.tar").read_bytes())) as archive:
        found = {f"/{entry.name}": entry.linkname for entry in archive if entry.issym()}
        assert len(found) == len(archive.getmembers())
    assert found == dict(BARE.links())
    docker.on("images", "echo 71e222a65258\n")
    with WarmSandbox(BARE, docker.backend):
        pass
    assert len(docker.told("import")) == 1
    assert len(docker.told("run")) == 2


class WithGpu(Policy):
    def devices(self) -> tuple[str, ...]:
        return (*Policy().devices(), "/dev/nvidia0", "/dev/nvidiactl")


def test_a_gpu_is_handed_in_by_its_device_nodes_and_only_where_it_is_asked_for(docker: Engine, tmp_path: Path) -> None:
    words = container(str(docker.path), WithGpu(gpu=True), str(tmp_path)).command
    assert value(list(words), "--device") == ["/dev/nvidia0", "/dev/nvidiactl"]
    assert "--device" not in container(str(docker.path), WithGpu(), str(tmp_path)).command


class Paths(Policy):
    """A folder of many libraries of which some are not to be read."""

    def paths(self) -> tuple[str, ...]:
        folder = Path(self.readable[0])
        return (*(str(folder / f"lib{number}.so") for number in range(30)), str(folder / "packages" / "torch"))


def mounts_of(docker: Engine, folder: Path) -> list[str]:
    command = container(str(docker.path), Paths(readable=(str(folder),)), str(folder / "base")).command
    return value(list(command), "--mount")


def test_a_folder_most_of_which_may_be_read_is_one_mount_and_the_rest_of_it_is_covered(
    docker: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "lib"
    for name in ("packages/torch", "packages/sklearn", "keys"):
        (folder / name).mkdir(parents=True)
    for number in range(30):
        (folder / f"lib{number}.so").touch()
    found = mounts_of(docker, folder)
    shown = [mount for mount in found if mount.startswith("type=bind")]
    assert [mount.split(",")[2] for mount in shown] == [f"target={folder}", f"target={folder}/packages/torch"]
    covered = {mount.split(",")[1] for mount in found if mount.startswith("type=tmpfs")}
    assert covered == {f"target={folder}/packages", f"target={folder}/keys"}
    (folder / "key").write_text("secret")  # a file cannot be covered, so that each library is a mount of its own
    found = mounts_of(docker, folder)
    assert len(found) == 31
    assert not any(f"target={folder}," in mount for mount in found)


# -- its end --------------------------------------------------------------------------------------------------


def test_a_container_is_removed_by_its_name_when_the_sandbox_is_closed_and_only_once(docker: Engine) -> None:
    one = WarmSandbox(BARE, docker.backend)
    one.close()
    one.close()
    (name,) = value(docker.told("run")[0], "--name")
    assert docker.told("rm") == [["rm", "--force", name]]


def test_what_was_left_of_a_search_that_was_killed_is_removed_by_its_label(docker: Engine) -> None:
    with WarmSandbox(BARE, docker.backend):
        pass
    assert value(docker.told("run")[0], "--label") == ["nas-agent"]
    (swept,) = docker.told("container")
    assert swept[:3] == ["container", "prune", "--force"]
    assert value(swept, "--filter") == ["label=nas-agent", "until=10m"]


def clients() -> list[int]:
    """Processes that stand for containers of this process."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    found = (Path(f"/proc/{child}/cmdline") for child in children)
    return [int(path.parent.name) for path in found if b"sandbox.zygote" in path.read_bytes()]


def test_a_job_whose_container_was_killed_is_lost_and_the_next_one_has_another_container(docker: Engine) -> None:
    """By `docker kill`, or by the kernel where the container was out of memory."""
    before = set(clients())
    with WarmSandbox(BARE, docker.backend) as one:
        timer = threading.Timer(0.3, lambda: [os.killpg(one, signal.SIGKILL) for one in set(clients()) - before])
        timer.start()
        outcome = one.run(LONG)
        timer.join()
        assert isinstance(outcome, Stopped)
        assert outcome.kind == "lost"
        assert isinstance(one.run(ONE), Completed)
    first, second = (value(words, "--name")[0] for words in docker.told("run"))
    assert first != second
    assert [words[-1] for words in docker.told("rm")] == [first, second]


def test_a_job_that_is_interrupted_takes_its_container_with_it(docker: Engine) -> None:
    with WarmSandbox(BARE, docker.backend) as one:
        timer = threading.Timer(0.3, one.interrupt)
        timer.start()
        outcome = one.run(LONG)
        timer.join()
        assert isinstance(outcome, Stopped)
        assert outcome.kind == "lost"
        assert len(docker.told("rm")) == 1
    assert len(docker.told("run")) == 1


# -- where it does not work -----------------------------------------------------------------------------------


def trouble(engine: Engine) -> str:
    with pytest.raises(SandboxError) as caught:
        WarmSandbox(BARE, engine.backend).close()
    return str(caught.value)


def test_no_daemon_is_told_in_its_clients_words_and_the_next_backend_is_tried(docker: Engine) -> None:
    docker.on("version", "echo 'Cannot connect to the Docker daemon at unix:///run/docker.sock.' >&2; exit 1\n")
    assert trouble(docker) == "Cannot connect to the Docker daemon at unix:///run/docker.sock."
    with pytest.raises(SandboxError, match=r"docker: Cannot connect .*; off: open a socket"):
        open_sandbox(BARE, among=[docker.backend, UNSAFE])
    assert docker.told("run") == []


def test_a_daemon_that_hangs_is_given_up(docker: Engine, tmp_path: Path) -> None:
    docker.on("version", "exec sleep 60\n")
    begun = time.monotonic()
    with pytest.raises(SandboxError, match=r"no answer within 0\.2 seconds to 'version'"):
        container(str(docker.path), BARE, str(tmp_path), answer=0.2)
    assert time.monotonic() - begun < 50


def test_a_daemon_of_another_machine_is_refused_since_it_has_not_our_folders(docker: Engine) -> None:
    docker.on("context", "echo ssh://cluster; exit 0\n")
    assert "its daemon is at ssh://cluster, and must be one of this machine" in trouble(docker)


def test_a_daemon_whose_users_are_others_is_refused(docker: Engine) -> None:
    docker.on("info", "echo '[name=seccomp name=userns]'; exit 0\n")
    assert "userns-remap" in trouble(docker)


def test_in_a_daemon_without_root_the_containers_root_is_the_user(docker: Engine) -> None:
    docker.on("info", "echo '[name=seccomp name=rootless]'; exit 0\n")
    with WarmSandbox(BARE, docker.backend):
        pass
    assert value(docker.walls(), "--user") == ["0:0"]


def test_an_image_that_cannot_be_made_is_told(docker: Engine) -> None:
    docker.on("import", "cat > /dev/null; echo 'no space left on device' >&2; exit 1\n")
    assert trouble(docker) == "no space left on device"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "echo 'docker: Error response from daemon: no such mount.' >&2; echo 'See docker --help.' >&2; exit 125",
            "cannot be started (docker: Error response from daemon: no such mount.)",
        ),
        ("exit 137", "cannot be started (exit code 137)"),
    ],
)
def test_a_container_that_does_not_start_is_told_with_its_reason_and_removed(
    docker: Engine, script: str, told: str
) -> None:
    docker.on("run", f"{script}\n")
    assert trouble(docker) == told
    assert len(docker.told("rm")) == 1


def test_a_container_that_cannot_be_removed_does_not_keep_the_sandbox_from_its_end(docker: Engine) -> None:
    docker.on("rm", "echo 'permission denied' >&2; exit 1\n")
    with WarmSandbox(BARE, docker.backend) as one:
        assert isinstance(one.run(ONE), Completed)
    assert not (Path(tempfile.gettempdir()) / value(docker.walls(), "--name")[0]).exists()


def test_a_backend_is_chosen_by_its_name_and_one_that_is_not_there_is_told(
    docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(docker.folder), prepend=os.pathsep)
    assert [backend.engine for backend in chosen("docker")] == [str(docker.path)]
    assert chosen("auto")[-1].name in ("docker", "podman")
    monkeypatch.setenv("PATH", str(docker.folder.parent))
    with pytest.raises(SandboxError, match="sandbox podman: there is no program 'podman' on this machine"):
        open_sandbox(BARE, "podman")


# -- the setting ----------------------------------------------------------------------------------------------


def test_the_setting_names_a_backend_and_contradicts_unsafe() -> None:
    from nas_agent.config import make_config

    assert make_config({"sandbox": "docker"}).confinement == "docker"
    assert make_config({}).confinement == "auto"
    assert make_config({"unsafe": True}).confinement == "off"
    with pytest.raises(ConfigError, match=r"sandbox = docker confines it; leave one out"):
        make_config({"unsafe": True, "sandbox": "docker"})
    with pytest.raises(ConfigError, match="sandbox"):
        make_config({"sandbox": "off"})
