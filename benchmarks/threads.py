"""Does a second thread help the linear algebra of a Gaussian process? Why `tools/linear_algebra.py` allows one.

    python benchmarks/threads.py                   # factor and invert covariances of 100 to 3,516 points
    python benchmarks/threads.py --threads 1,2,4   # on a machine with more cores

Prints milliseconds by the clock, best and median of the repeats; the sides take turns. On a machine that does other
work as well a second thread costs far more: the first waits for it.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

SIZES = (100, 200, 500, 1000, 3516)


def seconds(covariance: np.ndarray[tuple[int, int], np.dtype[np.float64]], threads: int) -> float:
    """Time one factor and one inverse: what a fit of the head `gp` spends its time on."""
    with threadpool_limits(threads, user_api="blas"):
        begun = time.perf_counter()
        lapack.dpotri(np.linalg.cholesky(covariance), lower=1)
        return time.perf_counter() - begun


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.threads.split(",")]
    print("| points | " + " | ".join(f"{count} threads, best / median ms" for count in counts) + " |")
    print("|---|" + "---|" * len(counts))
    for size in SIZES:
        rows = np.random.default_rng(0).normal(size=(size, size))
        covariance = rows @ rows.T + size * np.eye(size)
        times = [[1e3 * seconds(covariance, count) for count in counts] for _ in range(arguments.repeats)]
        cells = [f"{min(some):.2f} / {statistics.median(some):.2f}" for some in zip(*times, strict=True)]
        print(f"| {size:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
