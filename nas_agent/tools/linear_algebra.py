"""Linear algebra of small matrices on one thread.

A second thread gains nothing up to 1,000 points, and where anything else runs the first waits for it: at 200 points a
median of 5.4 ms against 0.7 with one (`python benchmarks/threads.py`, two cores, n=7). And with one, the last digits do
not depend on the machine's cores. torch's threads are not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Given = ParamSpec("Given")
Result = TypeVar("Result")


def one_thread() -> AbstractContextManager[object]:
    """Limit the linear algebra of numpy and scipy to one thread in the block."""
    limited: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limited


def on_one_thread(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Run the function in `one_thread`."""

    @wraps(function)
    def limited(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with one_thread():
            return function(*args, **kwargs)

    return limited


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  # it brings a library of its own, which must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
