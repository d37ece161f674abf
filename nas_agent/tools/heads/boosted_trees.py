"""Gradient-boosted trees (LightGBM, Ke et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np

from nas_agent.errors import MissingExtra
from nas_agent.spaces.base import Floats
from nas_agent.tools.heads.base import Blocks, FittedHead, check_sample
from nas_agent.tools.heads.cross_fitting import cross_fitted, folds
from nas_agent.tools.heads.reduction import Table
from nas_agent.tools.heads.targets import TargetName, make_target

TREES = 300
SMALL = 40  # points below which a leaf may hold a single one


class BoostedTrees:
    """The head `lightgbm`: one thread and fixed seeds, so that equal samples give equal trees."""

    name = "lightgbm"

    def __init__(self, target: TargetName, components: int) -> None:
        try:
            import lightgbm
        except ModuleNotFoundError as error:
            raise MissingExtra("lightgbm", "lightgbm", "the head 'lightgbm'") from error
        self._library: Any = lightgbm
        self._target, self._components = target, components

    def fit(self, blocks: Blocks, values: Floats, *, counts: bool = False, seed: int = 0) -> FittedHead:
        """Grow the trees of each member."""
        check_sample(blocks, values)
        target = make_target(self._target, values)
        table = Table(blocks, self._components, counts=counts)
        rows, fold = table(blocks), folds(len(values), seed)
        settings = {
            "objective": "regression",
            "learning_rate": 0.05,
            "num_leaves": 15,
            "min_data_in_leaf": min(10, max(1, len(values) // SMALL)),
            "min_data_in_bin": 1,
            "feature_fraction": 0.4,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 1.0,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "seed": seed,
            "verbosity": -1,
        }

        def grow(kept: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Any:
            data = self._library.Dataset(rows[kept], target.sample[kept])
            return self._library.train(settings, data, num_boost_round=TREES)

        splittable = rows.shape[1] > 0
        grown = [grow(fold != number) for number in range(fold.max() + 1)] if splittable else []

        def members(rows: Floats) -> Floats:
            if not grown:
                return np.zeros((fold.max() + 1, len(rows)))
            return np.stack([np.asarray(trees.predict(rows, num_threads=1)) for trees in grown])

        return cross_fitted(blocks, table, target, fold, members)
