"""Equal-budget comparison of search methods, with many seeds and intervals.

- `methods`: what a method is given (Problem), what it hands back (Trace), the Meter through which it measures
- `baselines`: random, evolution, local-search, tpe; `bananas` is the fifth, `encodings` and
  `predictors` are what it compares
- `agent`: the project's own search and its ablations
- `compare`: methods x seeds over the cores, the registry METHODS, the test split opened afterwards
- `statistics`: evaluations to a threshold, bootstrap intervals, paired differences
- `crossing`: where mean curves cross, by validation and by test
- `workers`: jobs over processes, for all of these
- `document`: all figures as JSON; `report`: tables for a terminal and for Markdown; `plot`: the curves
- `surrogate_eval`: COLE's protocol over texts, embedders, heads and blocks; `surrogate_plan`, `_splits`, `_blocks`,
  `_fits`, `_statistics`, `_document`, `_report` and `_plot` are its parts
"""
