"""What ideas are tried with: benchmarks, evaluators, surrogates, sources, memory, and what a run writes down."""
