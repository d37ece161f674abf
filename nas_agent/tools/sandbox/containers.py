"""Docker's or Podman's walls: the warm parent runs in a container that holds what a job may read, and nothing else.

No image of anybody's is needed. The root is an empty image, made here of the links that the policy names; Python, its
packages and the system's libraries are mounted into it read-only, from where they are installed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from nas_agent.errors import SandboxError
from nas_agent.tools.sandbox.policy import Policy, environment

LABEL = "nas-agent"
IMAGE = "nas-agent-sandbox"
ANSWER = 5.0  # seconds in which a daemon that works says its version, on a busy machine too
_PATIENCE = 60.0  # seconds for an image to be made, or a container to be removed
_OF_MEMORY = 0.9  # share of the machine's that a container may have; a job's own limit is below it
_PROCESSES = 512  # threads of the warm parent and of a job; a job's own limit is below it
_MANY = 20  # entries of a folder that are worth one mount of the whole
_FILES = 4096  # descriptors; without a number, a daemon's may be a thousand millions, and Python closes each


@dataclass(frozen=True, slots=True)
class Container:
    """One container, by its name; the client's command that starts it ends with it, and it with the client's stdin."""

    command: tuple[str, ...]  # to which the warm parent's is added
    client: Mapping[str, str]  # environment of the client, of which the container sees nothing
    name: str

    def end(self) -> None:
        """Kill all that runs in it and remove it, whether it was started, is running or is gone."""
        with suppress(subprocess.SubprocessError, OSError):
            _asked((self.command[0], "rm", "--force", self.name), self.client, _PATIENCE)


def container(engine: str, policy: Policy, base: str, *, answer: float = ANSWER) -> Container:
    """Return how to start a container whose only writable folder is `base`; `engine` is the program's path.

    SandboxError where no daemon of this machine answers within `answer` seconds, or the image cannot be made.
    """
    podman = os.path.basename(engine).startswith("podman")
    client = dict(os.environ) if podman else _local(engine, base, answer)
    identity = _podman_user() if podman else _docker_user(engine, client, answer)
    image = _image(engine, client, policy)
    with suppress(SandboxError):  # what a search left that was killed between making a container and starting it
        _said(engine, client, ("container", "prune", "--force", "--filter", f"label={LABEL}", "--filter", "until=10m"))
    name = os.path.basename(base)
    memory = str(int(_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    command = [engine, "run", "--interactive", "--rm", "--pull", "never", "--name", name, "--label", LABEL]
    command += [*identity, "--stop-timeout", "0"]
    command += ["--network", "none", "--ipc", "none", "--hostname", "sandbox", "--log-driver", "none"]
    command += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    command += ["--security-opt", "label=disable"]  # the user's folders have SELinux labels, which stay as they are
    command += ["--memory", memory, "--memory-swap", memory, "--pids-limit", str(_PROCESSES)]
    command += ["--cpus", str(min(policy.compute_threads + 1, os.cpu_count() or 1))]
    command += ["--ulimit", f"nofile={_FILES}:{_FILES}", "--ulimit", "core=0:0", "--workdir", "/"]
    if podman:  # which passes on of the environment, and makes, more than Docker does
        command += ["--http-proxy=false", "--env-host=false", "--unsetenv-all"]
        command += ["--read-only-tmpfs=false", "--passwd=false"]
    for key, value in environment(policy).items():
        command += ["--env", f"{key}={value}"]
    command += ["--tmpfs", f"{base}:rw,nosuid,nodev,noexec,size={int(memory) // 2},mode=1777"]
    for place in _places(policy, podman=podman):
        command += ["--mount", place]
    for device in policy.devices():
        if policy.gpu and device not in Policy().devices():
            command += ["--device", device]
    return Container((*command, image), client, name)


def _asked(command: Sequence[str], client: Mapping[str, str], seconds: float, given: bytes = b"") -> str:
    """Return what a command of the client says; SubprocessError or OSError where it does not."""
    done = subprocess.run(command, env=client, input=given, capture_output=True, timeout=seconds, check=True)
    return done.stdout.decode(errors="replace").strip()


def _said(
    engine: str, client: Mapping[str, str], arguments: Sequence[str], seconds: float = _PATIENCE, given: bytes = b""
) -> str:
    """Return what a command of the client says; SandboxError with its complaint."""
    try:
        return _asked((engine, *arguments), client, seconds, given)
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"no answer within {seconds:g} seconds to '{arguments[0]}'") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {error.returncode}"]
        raise SandboxError(lines[-1][:300]) from error
    except OSError as error:
        raise SandboxError(f"cannot be started ({error.strerror})") from error


def _local(docker: str, base: str, answer: float) -> dict[str, str]:
    """Return an environment in which the client reads no configuration: the user's puts proxies into containers.

    The folders to be mounted are those of this machine, and so must the daemon be.
    """
    address = _said(docker, os.environ, ("context", "inspect", "--format", "{{.Endpoints.docker.Host}}"), answer)
    if not address.startswith("unix://"):
        raise SandboxError(f"its daemon is at {address[:100]}, and must be one of this machine (unix://...)")
    others = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    return {**others, "DOCKER_HOST": address, "DOCKER_CONFIG": base}


def _docker_user(docker: str, client: Mapping[str, str], answer: float) -> list[str]:
    """Return the user as the container knows them: who may read the images of a task, and has no capabilities there."""
    _said(docker, client, ("version", "--format", "{{.Server.Version}}"), answer)
    options = _said(docker, client, ("info", "--format", "{{.SecurityOptions}}"), answer)
    if "name=userns" in options:
        raise SandboxError("its users are not those of this machine (userns-remap)")
    rootless = "name=rootless" in options  # where the container's root is who started the daemon
    return ["--user", "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"]


def _podman_user() -> list[str]:
    same = [] if os.getuid() == 0 else ["--userns", "keep-id"]
    return ["--user", f"{os.getuid()}:{os.getgid()}", *same]


def _image(engine: str, client: Mapping[str, str], policy: Policy) -> str:
    """Return the name of an image of nothing but links, such as /lib into /usr; it is made where there is none yet."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path, end in sorted(policy.links()):
            link = tarfile.TarInfo(path.removeprefix("/"))
            link.type, link.linkname = tarfile.SYMTYPE, end
            archive.addfile(link)
    name = f"{IMAGE}:{hashlib.sha256(data.getvalue()).hexdigest()[:16]}"
    if not _said(engine, client, ("images", "--quiet", name)):
        _said(engine, client, ("import", "-", name), given=data.getvalue())
    return name


def _places(policy: Policy, *, podman: bool) -> list[str]:
    """Return the mounts: what may be read, and over what lies beside it something empty.

    A folder of many entries, most of which may be read, is mounted as one: hundreds of mounts took Podman 23 seconds.
    """
    paths = [path for path in policy.paths() if not path.startswith(("/proc/", "/sys/"))]  # it has its own
    beside: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        beside[os.path.dirname(path)].add(path)
    shown: list[str] = []
    covered: list[str] = []
    for folder, known in beside.items():
        hidden = [entry for entry in os.scandir(folder) if entry.path not in known and not entry.is_symlink()]
        whole = len(known) > max(_MANY, len(hidden)) and all(entry.is_dir() for entry in hidden)
        shown += [folder] if whole else sorted(known)
        covered += [entry.path for entry in hidden] if whole else []
    empty = ("tmpfs-size=65536", "tmpfs-mode=0555", *(("notmpcopyup",) if podman else ()))  # Podman copies into it
    return [
        *(_mount("bind", path, "readonly", source=path) for path in _outermost(shown, covered)),
        *(_mount("tmpfs", path, *empty) for path in covered),
    ]


def _outermost(shown: Sequence[str], covered: Sequence[str]) -> list[str]:
    """Leave out what is shown with a folder above it, unless something empty lies between the two."""
    kept: list[str] = []
    for path in sorted(set(shown), key=len):
        above = [folder for folder in (*kept, *covered) if path.startswith(f"{folder}/")]
        if not above or max(above, key=len) in covered:
            kept.append(path)
    return kept


def _mount(kind: str, target: str, *options: str, source: str | None = None) -> str:
    """Return one mount; its parts are those of a line of CSV, as paths may hold commas."""
    line = io.StringIO()
    origin = [] if source is None else [f"source={source}"]
    csv.writer(line, lineterminator="").writerow([f"type={kind}", *origin, f"target={target}", *options])
    return line.getvalue()
