"""Split first, subsample later: the protocol of COLE (Somu et al., 2026) made safe for isomorphic architectures.

The rows of a table are split into stratified folds, repeatedly; what is trained on is the beginning of one
random order of the other folds. So samples of several sizes are nested, and every configuration is fitted on
the same rows. Ours: a class of isomorphic architectures lies in one fold with all its rows, since its code in
canonical form and its structure are those of its twins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import ConfigError
from nas_agent.spaces import Floats

Places = NDArray[np.intp]

STRATA = 10  # of equal numbers of classes, by value


def folds_of(classes: Places, values: Floats, folds: int, rng: np.random.Generator) -> Places:
    """Give each row (n,) a fold: folds alike in size and in values, no class in two of them.

    `classes` are numbers from 0; a class has the mean value of its rows. ConfigError for fewer classes than folds.
    """
    sizes = np.bincount(classes)
    if folds < 2 or len(sizes) < folds:
        raise ConfigError(
            f"--folds {folds}: expected from 2 to the number of different architectures in the table, {len(sizes):,}"
        )
    means = np.bincount(classes, weights=values) / sizes
    order = rng.permutation(len(sizes))
    ranked = order[np.argsort(means[order], kind="stable")]
    fold_of_class = np.empty(len(sizes), np.intp)
    totals = np.zeros(folds, np.intp)
    for stratum in np.array_split(ranked, min(STRATA, max(len(sizes) // folds, 1))):
        rows = np.zeros(folds, np.intp)
        shuffled = rng.permutation(stratum)
        # The largest classes first, each to the fold with the fewest rows of the stratum, then of all.
        for member in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
            fold = int(np.lexsort((totals, rows))[0])
            fold_of_class[member] = fold
            rows[fold] += sizes[member]
            totals[fold] += sizes[member]
    # The largest classes went to the first folds; who tests on some folds only shall not always meet them.
    return rng.permutation(folds)[fold_of_class[classes]]


def training_order(folds: Places, fold: int, rng: np.random.Generator) -> Places:
    """Return the rows outside a fold in a random order: its first N are the training sample of size N."""
    return rng.permutation(np.flatnonzero(folds != fold))


def split_rng(seed: int, repeat: int, fold: int | None = None) -> np.random.Generator:
    """Return the chance of one repeat's folds, or of one fold's training order: the same for every configuration."""
    return np.random.default_rng([seed, repeat] if fold is None else [seed, repeat, fold])
