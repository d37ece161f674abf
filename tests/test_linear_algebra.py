"""Linear algebra of the search runs on one thread, whatever the machine offers."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from nas_agent.tools.heads import make_head
from nas_agent.tools.linear_algebra import on_one_thread, one_thread


def threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_one_thread_in_the_block_and_as_many_as_before_after_it() -> None:
    with one_thread():  # loads the libraries
        pass
    with threadpool_limits(2, user_api="blas"):
        with one_thread():
            assert threads() == {1}
        assert threads() == {2}


def test_a_function_runs_on_one_thread_and_its_error_gives_the_others_back() -> None:
    @on_one_thread
    def broken(text: str) -> None:
        assert threads() == {1}
        raise ValueError(text)

    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ValueError, match="no number"):
            broken("no number")
        assert threads() == {2}


def test_a_head_predicts_the_same_to_the_last_digit_with_two_threads() -> None:
    rng = np.random.default_rng(3)
    blocks, values = {"edge": rng.normal(size=(150, 20))}, rng.normal(size=150)

    def predicted() -> list[float]:
        fitted = make_head("gp").fit(blocks, values)
        mean: list[float] = fitted.predict(blocks).mean.tolist()
        return mean

    with threadpool_limits(1, user_api="blas"):
        alone = predicted()
    with threadpool_limits(2, user_api="blas"):
        assert predicted() == alone
