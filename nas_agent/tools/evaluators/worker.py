"""The process that trains: it loads torch once and forks a child for each architecture, so that a crash costs one.

    python -m nas_agent.tools.evaluators.worker

Requests are lines of JSON on stdin, one at a time; replies are lines on stdout that begin with the request's `nonce`:
`ready` once the space could be loaded (what goes wrong later is the architecture's doing), then the outcome
(`predicted`, `failed`, or `broken`, `misconfigured`, `unsaved` where something else is to blame), and last `ended` with
the child's exit code, the last line of its stderr, and whether its time had passed.

The child is given two sets of images, one to train on, with labels, and one to classify, without, and does not know
whether the second is the validation or the test part: during a search the test images never reach it. Its stdout and
stderr lead to a pipe of this process: what a candidate prints, from native code too, is no reply. It leads a process
group of its own, which is killed when it has ended, when its time has passed, and when the process that asked is gone.
Where there is no fork (Windows), this process trains itself and ends.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
import traceback
from typing import TextIO

from nas_agent.records import Json
from nas_agent.tools.evaluators.candidate import answers

PARENT_DIED = 1  # PR_SET_PDEATHSIG of Linux
TAIL = 4096  # bytes of stderr that are kept


def main() -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        import torch._dynamo  # noqa: F401 - loaded once, for all children: torch asks for it with the first optimiser

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


def answer(request: Json, replies: TextIO) -> None:
    """Write the replies to one request."""
    nonce = request.pop("nonce")  # out of what the candidate's code is given
    for what in answers(request):
        if "classes" in what:
            what["classes"] = base64.b64encode(what["classes"]).decode()
        reply(replies, nonce, what)


if __name__ == "__main__":
    main()
