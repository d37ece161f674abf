"""What measures an architecture: `load_evaluation` picks a table, the embedded benchmark or real training."""

from __future__ import annotations

from nas_agent.tools.evaluators.base import Evaluation, Evaluator, TestResult, TestSplit
from nas_agent.tools.evaluators.resolve import TASKS, load_evaluation

__all__ = ["TASKS", "Evaluation", "Evaluator", "TestResult", "TestSplit", "load_evaluation"]
