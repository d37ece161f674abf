"""Jobs over processes, one thread of linear algebra each: the result does not depend on how many there are.

One thread also where there is one worker only: the last bits of a matrix product depend on the number of
threads, and results must not.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, connection, get_context, parent_process
from typing import TypeVar

from nas_agent.errors import NasAgentError

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Fault:
    """An exception as text: not every exception survives the way back from a process."""

    message: str
    of_the_user: bool
    trace: str


def available_cores() -> int:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def run_all(
    work: Sequence[Job],
    do: Callable[[Job], Result],
    jobs: int,
    *,
    named: Callable[[Job], str],
    done: Callable[[Job, Result], None],
) -> None:
    """Do all jobs in spawned processes and hand over each result as it comes; leave no worker behind.

    `do` is a function of a module, so that a process finds it; `named` says in errors which job it was.
    """
    others = set(active_children())
    with _one_thread_each():
        # Spawned, not forked: a fork of a process with the threads of torch or Chroma can hang.
        pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_worker)
        try:
            futures = {pool.submit(_guarded, do, job): job for job in work}
            for future in as_completed(futures):
                job = futures[future]
                done(job, _result(future, named(job)))
        except BaseException:  # Ctrl-C above all: end the workers, then let it pass
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(active_children()) - others:
                child.kill()
            raise
        pool.shutdown()


def _guarded(do: Callable[[Job], Result], job: Job) -> Result | _Fault:
    try:
        return do(job)
    except Exception as error:  # whatever it is, the parent shall say which job it was
        return _Fault(f"{error}", isinstance(error, NasAgentError), traceback.format_exc())


def _result(future: Future[Result | _Fault], where: str) -> Result:
    try:
        result = future.result()
    except BrokenProcessPool as error:
        raise NasAgentError(
            "a worker process died: most often for want of memory (try fewer with --jobs), or because a script of "
            "your own starts workers outside of `if __name__ == '__main__':`"
        ) from error
    if not isinstance(result, _Fault):
        return result
    if result.of_the_user:
        raise NasAgentError(f"{where}: {result.message}")
    raise RuntimeError(f"{where} failed in a worker: {result.message}\n\n{result.trace}")


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone (a killed parent cannot tell)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that start meanwhile use one thread; the settings are read when a library is loaded."""
    before = {name: os.environ.get(name) for name in THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
