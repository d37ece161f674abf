"""The warm parent: a small process with torch imported that forks a confined process for each job.

    python -P -m nas_agent.tools.sandbox.zygote

It gets its orders as frames on stdin, beginning with what may be read, and answers with frames on stdout. It has no
secrets and no labels in its memory, and it never runs code of others itself. When stdin ends, so does it.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from nas_agent.tools.sandbox import job, kernel, landlock, scratch, seccomp, wire
from nas_agent.tools.sandbox.base import Kind, Limits
from nas_agent.tools.sandbox.cell import Cell
from nas_agent.tools.sandbox.namespaces import enter

_TICK = 0.02  # seconds between two looks at a job
_MARGIN = 32 * 2**20  # bytes of memory by which the count of pages may be off


@dataclass(slots=True)
class Watched:
    """A job's process as it is seen from outside."""

    process: int
    reply: int
    limits: Limits
    deadline: float
    memory: int  # bytes at which it is ended
    data: bytearray


def main() -> None:
    """Take the order that says how to confine, warm up, then serve jobs until stdin ends."""
    replies = os.dup(1)
    os.dup2(2, 1)  # what an import prints is no answer
    order = wire.receive(0)
    if order is None:
        return
    setup = order[0]
    try:
        level, cell = _prepare(setup)
        for name in setup["preload"]:
            importlib.import_module(name)
    except (OSError, ImportError, KeyError) as error:
        wire.send(replies, wire.frame({"broken": f"{type(error).__name__}: {error}"}))
        return
    _remember_folders()
    gc.collect()
    gc.freeze()  # what is alive now stays: its pages are shared with the jobs, not copied
    wire.send(replies, wire.frame({"level": level}))
    while (request := wire.receive(0)) is not None:
        answer, blob = _serve(cell, *request)
        del request
        wire.send(replies, wire.frame(answer, blob))


def _prepare(setup: Any) -> tuple[list[str], Cell]:
    """Enter the namespaces and make the rules; return what confines a job, in words, and the cell."""
    base, level = setup["base"], []
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")  # where memory runs out, a job goes before the search
    if setup["namespaces"]:
        enter(setup["readable"], setup["links"], setup["devices"], base)
        level.append("namespaces")
    folder = os.path.join(base, "scratch")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.environ.update(HOME=folder, TMPDIR=folder)
    rules = None
    if setup["landlock"] and kernel.landlock_abi():  # asked for in here: the walls of a container may refuse it
        # The rule is on the folder above, so that it holds for whatever is mounted there.
        rules = landlock.rules(setup["readable"], (base,), setup["devices"])
        level.append(f"Landlock {kernel.landlock_abi()}")
    if setup["seccomp"]:
        seccomp.program(os.getpid(), gpu=setup["gpu"])  # KeyError here, not in every job
        level.append("seccomp")
    cell = Cell(folder, rules, setup["seccomp"], setup["namespaces"], setup["gpu"])
    return [*level, "limits"], cell


def _remember_folders() -> None:
    """Let the import system list the folders that it looks in: a job may read packages, not their list."""
    find_spec("nas_agent_has_no_module_of_this_name")


def _serve(cell: Cell, request: Any, blob: bytes) -> tuple[Any, bytes]:
    """Fork, watch, and tell how it went."""
    limits = Limits(**request["limits"])
    receive, give = os.pipe()
    start = time.perf_counter()
    parent = os.getpid()
    process = os.fork()
    if process == 0:
        job.run(cell, request, blob, give, parent)
    os.close(give)
    ceiling = _memory(parent) + limits.memory + _MARGIN
    watched = Watched(process, receive, limits, start + limits.seconds, ceiling, bytearray())
    try:
        ended, status, usage = _watch(watched, cell)
    finally:
        os.close(receive)
        if not cell.own_mounts:
            scratch.empty(cell.scratch)
    answer: dict[str, Any] = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "code": os.waitstatus_to_exitcode(status),
    }
    if ended:
        answer["stopped"] = ended
    return answer, bytes(watched.data)


def _watch(watched: Watched, cell: Cell) -> tuple[tuple[Kind, str] | None, int, Any]:
    """Read the reply until the job's process has ended, or end it at a limit; then end what it may have started."""
    poll = select.poll()
    ending = os.pidfd_open(watched.process)
    for descriptor, awaited in ((watched.reply, select.POLLIN), (ending, select.POLLIN), (0, select.POLLHUP)):
        poll.register(descriptor, awaited)
    beyond = None
    look = 0.0  # when to look next at what is costly to see
    try:
        while beyond is None:
            now = time.perf_counter()
            events = dict(poll.poll(max(min(_TICK, watched.deadline - now), 0.0) * 1000))
            if events.get(0, 0) & (select.POLLHUP | select.POLLERR):
                _kill(watched.process)
                os._exit(0)
            if watched.reply in events and not _read(watched):
                poll.unregister(watched.reply)
            if ending in events:
                break
            now = time.perf_counter()
            beyond = _beyond(watched, cell, now, look=now >= look)
            look = now + _TICK if now >= look else look
    finally:
        os.close(ending)
    _kill(watched.process)
    _, status, usage = os.wait4(watched.process, 0)
    os.set_blocking(watched.reply, False)
    while len(watched.data) <= watched.limits.reply and _read(watched):  # what is left in the pipe
        continue
    return beyond, status, usage


def _read(watched: Watched) -> bool:
    """Read a part of the reply; False at its end."""
    try:
        part = os.read(watched.reply, 2**18)
    except BlockingIOError:
        return False
    watched.data += part
    return bool(part)


def _beyond(watched: Watched, cell: Cell, now: float, *, look: bool) -> tuple[Kind, str] | None:
    """Return which limit is passed; the costlier looks only where it is time for one."""
    limits = watched.limits
    if now >= watched.deadline:
        return "wall clock", f"it was stopped after {limits.seconds:g} seconds"
    if len(watched.data) > limits.reply + 64:
        return "reply", f"its reply was longer than {limits.reply} bytes"
    if not look:
        return None
    if _memory(watched.process) > watched.memory:
        return "memory", f"it used more than {limits.memory // 2**20} MB of memory"
    if _threads(watched.process) > limits.threads:
        return "threads", f"it started more than {limits.threads} threads"
    if not cell.own_mounts and scratch.too_much(cell.scratch, limits.disk):
        return "disk", f"it wrote more than {limits.disk // 2**20} MB, or too many files"
    return None


def _memory(process: int) -> int:
    """Return the bytes in memory of no file, shared ones included; 0 where the process has ended."""
    return 1024 * (_status(process, "RssAnon:") + _status(process, "RssShmem:"))


def _threads(process: int) -> int:
    return _status(process, "Threads:")


def _status(process: int, key: str) -> int:
    try:
        with open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as file:
            line = next((line for line in file if line.startswith(key)), None)
    except OSError:
        return 0
    return int(line.split()[1]) if line else 0


def _kill(process: int) -> None:
    """End the job and, where it could start others (sandbox off), its group."""
    for end in (os.killpg, os.kill):
        try:
            end(process, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


if __name__ == "__main__":
    main()
