"""What measures an architecture: `resolve.load_evaluation` picks a table, an embedded benchmark or real training."""

from __future__ import annotations

from nas_agent.tools.evaluators.base import Evaluation, Evaluator, TestResult, TestSplit

__all__ = ["Evaluation", "Evaluator", "TestResult", "TestSplit"]
