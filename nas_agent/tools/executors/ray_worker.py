"""What runs in a worker of a Ray cluster: the evaluator, and one evaluation after the other."""

from __future__ import annotations

import os
import pickle
import platform
import traceback

from nas_agent.errors import NasAgentError
from nas_agent.records import Json
from nas_agent.tools.evaluators.base import Evaluator
from nas_agent.tools.executors.base import Work, perform


class RayWorker:
    """An actor. What goes wrong is an answer, so that whoever asked knows it from a worker that was lost."""

    def __init__(self, evaluator: bytes) -> None:
        self._evaluator: Evaluator = pickle.loads(evaluator)  # of the search that started this worker

    def name(self) -> str:
        """Say where this is; asked first, to see that it has started."""
        return f"{platform.node()}, process {os.getpid()}"

    def perform(self, work: Json) -> Json:
        """Evaluate; return the outcome, or what was raised."""
        try:
            return {"outcome": perform(self._evaluator, Work.from_dict(work)).to_dict()}
        except Exception as error:  # the search's process raises it again
            kind = type(error).__name__ if isinstance(error, NasAgentError) else "bug"
            kind = "away" if isinstance(error, ConnectionError | TimeoutError) else kind
            return {"raised": kind, "text": str(error), "trace": traceback.format_exc()}
