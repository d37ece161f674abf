"""The process that trains: it loads torch once and forks a child for each architecture, so that a crash costs one.

    python -m nas_agent.tools.evaluators.worker

Requests are lines of JSON on stdin, one at a time; replies are lines on stdout that begin with the request's `nonce`:
`ready` once the space could be loaded (what goes wrong later is the architecture's doing), then the outcome
(`measured`, `failed`, or `broken`, `misconfigured`, `unsaved` where something else is to blame), and last `ended` with
the child's exit code, the last line of its stderr, and whether its time had passed.

The child is given two sets of images, one to train on and one to score, and does not know whether the second is the
validation or the test part: during a search the test images never reach it. Its stdout and stderr lead to a pipe of
this process: what a candidate prints, from native code too, is no reply. It leads a process group of its own, which is
killed when it has ended, when its time has passed, and when the process that asked is gone. Where there is no fork
(Windows), this process trains itself and ends.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from nas_agent.errors import ConfigError, InvalidArchitecture, NasAgentError
from nas_agent.records import Json

if TYPE_CHECKING:
    from torch import nn

    from nas_agent.records import Architecture
    from nas_agent.spaces.base import Space
    from nas_agent.tools.evaluators.trainer import Part, Place, Recipe

PARENT_DIED = 1  # PR_SET_PDEATHSIG of Linux
TAIL = 4096  # bytes of stderr that are kept


def main() -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        import torch  # noqa: F401 - loaded once, for all children

        import nas_agent.spaces
        import nas_agent.tools.evaluators.trainer  # noqa: F401
    except (ImportError, OSError) as error:
        for line in sys.stdin:
            reply(
                replies, json.loads(line)["nonce"], {"status": "broken", "reason": f"{type(error).__name__}: {error}"}
            )
        return
    if not hasattr(os, "fork"):
        request = json.loads(sys.stdin.readline())
        answer(request, replies)
        reply(replies, request["nonce"], {"status": "ended", "code": 0, "error": "", "late": False})
        return
    Nursery(replies).serve()


def reply(replies: TextIO, nonce: str, what: Json) -> None:
    """Write one line."""
    replies.write(f"{nonce}{json.dumps(what)}\n")
    replies.flush()


class Nursery:
    """Forks, watches and ends the children; one at a time."""

    def __init__(self, replies: TextIO) -> None:
        self.replies = replies
        self.child: int | None = None
        self.woken, waker = os.pipe()
        for end in (self.woken, waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks hears Ctrl-C, and then ends this process

    def serve(self) -> None:
        """Take one request after the other."""
        waiting = b""
        while chunk := os.read(0, 1 << 20):
            waiting += chunk
            while b"\n" in waiting:
                line, waiting = waiting.split(b"\n", 1)
                self._train(json.loads(line))

    def _train(self, request: Json) -> None:
        errors, into = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(errors)
            _be_child(request, self.replies, into)
        os.close(into)
        code, tail, late = self._watch(errors, time.monotonic() + request["limit"])
        os.close(errors)
        self.child = None
        last = tail.decode("utf-8", "replace").strip().splitlines()
        ended = {"status": "ended", "code": code, "error": last[-1][:300] if last else "", "late": late}
        reply(self.replies, request["nonce"], ended)

    def _watch(self, errors: int, deadline: float) -> tuple[int, bytes, bool]:
        """Return the exit code, minus a signal's number, the end of stderr, and whether the time had passed."""
        assert self.child is not None
        tail, sources, late = b"", [0, self.woken, errors], False
        while True:
            readable, _, _ = select.select(sources, [], [], max(0.0, deadline - time.monotonic()))
            if errors in readable:
                chunk = os.read(errors, 1 << 16)
                tail = (tail + chunk)[-TAIL:]
                if not chunk:
                    sources.remove(errors)
            if self.woken in readable:
                os.read(self.woken, 4096)
            if 0 in readable:  # who asked is gone: nobody wants the result
                self._end()
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() >= deadline and not late:
                late, deadline = True, deadline + 60.0
                self._kill()
        self._kill()  # what it has left behind
        os.set_blocking(errors, False)
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(errors, 1 << 16):
                tail = (tail + chunk)[-TAIL:]
        return os.waitstatus_to_exitcode(status), tail, late

    def _kill(self) -> None:
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it may not lead its group yet
                os.kill(self.child, signal.SIGKILL)

    def _end(self, *_: object) -> None:
        self._kill()
        os._exit(0)


def _be_child(request: Json, replies: TextIO, errors: int) -> None:
    """Train in the forked child; never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _confine(request.get("memory"))
        signal.alarm(int(request["limit"]) + 5)  # ends this process even where its parent was killed
        answer(request, replies)
        code = 0
    except SystemExit as leaving:
        print(leaving.code if leaving.code is not None else "", file=sys.stderr)  # noqa: T201
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _confine(memory: float | None) -> None:
    """Limit the memory (GiB); die with the parent, and before it where the machine runs out of memory."""
    import resource

    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 2**30),) * 2)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGKILL)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")


# -- one architecture ----------------------------------------------------------------------------------------------


def answer(request: Json, replies: TextIO) -> None:
    """Write the replies to one request."""
    nonce = request.pop("nonce")  # out of what the candidate's code is given
    for what in answers(request):
        reply(replies, nonce, what)


def answers(request: Json) -> Iterator[Json]:
    """Yield `ready` and then the outcome, or one line that says why there can be none."""
    import torch

    from nas_agent.spaces import load_space
    from nas_agent.tools.evaluators.trainer import find_place

    torch.set_num_threads(request.get("threads", 1))
    try:
        place = find_place(request["device"], request["precision"], request["side"])
        space = load_space(request["space"])
    except ConfigError as error:
        yield {"status": "misconfigured", "reason": str(error)}
        return
    except (ImportError, OSError, NasAgentError) as error:
        yield {"status": "broken", "reason": f"{type(error).__name__}: {error}"}
        return
    yield {"status": "ready", "device": place.device, "precision": place.precision}
    if "architecture" not in request:
        return
    if request.get("memory") is not None and place.device.startswith("cuda"):
        whole = torch.cuda.get_device_properties(place.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, request["memory"] * 2**30 / whole), place.device)
    network, what = outcome(space, request, place)
    if network is not None and request.get("save"):
        what = saved(network, request["save"]) or what
    yield what


def outcome(space: Space, request: Json, place: Place) -> tuple[nn.Module | None, Json]:
    """Train and score; whatever goes wrong here is the architecture's doing, and so data."""
    import torch

    from nas_agent.tools.evaluators.trainer import NonFiniteLoss, Recipe, accuracy, train

    start, cause = time.perf_counter(), "network"
    try:
        architecture = space.parse(request["architecture"])
        torch.manual_seed(request["seed"])
        network = built(space, architecture, request)
        recipe = Recipe(**request["recipe"])
        trained = train(network, part_of(request, "train", recipe, place), recipe, place, request["seed"])
        value = accuracy(trained, part_of(request, "score", recipe, place), place)
    except InvalidArchitecture as error:
        reason = str(error)
    except NonFiniteLoss as error:
        reason = f"{error}; propose an architecture with fewer summed paths or with normalisation on each of them"
    except Exception as error:  # a user's network may raise anything; it is the candidate that does not work
        text = " ".join(str(error).split())[:300]
        scarce = "allocate memory" in text or "out of memory" in text or "bad_alloc" in text
        if scarce or isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            cause, reason = "memory", "it ran out of memory; propose a smaller architecture"
        else:
            reason = f"its network raised {type(error).__name__}: {text}; propose one whose layers fit together"
    else:
        return trained, {"status": "measured", "value": value, "seconds": time.perf_counter() - start}
    return None, {"status": "failed", "reason": reason, "cause": cause, "seconds": time.perf_counter() - start}


def built(space: Space, architecture: Architecture, request: Json) -> nn.Module:
    """Build the network of the space's stand-alone file, which is what a run leaves, or else by the space itself.

    The file holds the canonical architecture: isomorphic ones are one network, and what is not live costs nothing.
    """
    sizes = {"classes": request["classes"], "in_channels": request["channels"], "width": request["width"]}
    text = space.module_source(architecture, classes=request["classes"])
    return stand_alone(text, sizes) if writes_network(text, sizes) else space.network(architecture, **sizes)


def writes_network(text: str, sizes: Iterable[str]) -> bool:
    """Tell whether a file defines a class `Network` that takes these sizes."""
    for part in ast.parse(text).body:
        if isinstance(part, ast.ClassDef) and part.name == "Network":
            makers = (m for m in part.body if isinstance(m, ast.FunctionDef) and m.name == "__init__")
            return any(set(sizes) <= {argument.arg for argument in maker.args.args} for maker in makers)
    return False


def stand_alone(text: str, sizes: dict[str, int]) -> nn.Module:
    """Run a space's own file, and make its network."""
    scope: dict[str, Any] = {"__name__": "network"}
    exec(compile(text, "network.py", "exec"), scope)  # in a process that is made for it
    network: nn.Module = scope["Network"](**sizes)
    return network


def part_of(request: Json, name: str, recipe: Recipe, place: Place) -> Part:
    """Put the images of a request on the device: to train on, its share of them, or to score."""
    import numpy as np

    from nas_agent.tools.evaluators.trainer import Part

    pixels, labels = (np.load(request[name][key]) for key in ("pixels", "labels"))
    training = name == "train"
    kept = max(recipe.batch, round(request["share"] * len(labels))) if training else len(labels)
    return Part(
        pixels[:kept],
        labels[:kept],
        tuple(request["mean"]),
        tuple(request["spread"]),
        place.device,
        resolution=request["resolution"],
        margin=recipe.shift if training else 0,
    )


def saved(network: nn.Module, path: str) -> Json | None:
    """Write the weights; say so where they cannot be written."""
    from safetensors.torch import save

    # Not by safetensors' own save_file: it renames over whatever is there, and a device is no longer one.
    try:
        with open(path, "wb") as file:
            file.write(save({name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}))
    except OSError as error:
        return {"status": "unsaved", "reason": f"{path}: {error.strerror}"}
    return None


if __name__ == "__main__":
    main()
