"""An inspector for tests: it runs texts in this process, which is for texts of the tests' own only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import torch

from nas_agent.spaces.inspection import Inspection, NetworkShape, Refusal
from nas_agent.tools.inspection.sandboxed import reading

DIGITS = NetworkShape.of(10, 1, 8)


class TrustingInspector:
    """Runs what the sandbox would run, in this process; counts the texts that it looked at."""

    def __init__(self) -> None:
        self.asked = 0
        self._known: dict[str, Inspection | Refusal] = {}

    def inspect(self, text: str, arguments: Mapping[str, int], shape: NetworkShape) -> Inspection | Refusal:
        """Inspect without any wall; the generator of the tests' own chance is left as it was."""
        from nas_agent.tools.inspection import child

        if text not in self._known:
            self.asked += 1
            with torch.random.fork_rng():
                payload = {"text": text, "arguments": dict(arguments), "shape": asdict(shape)}
                self._known[text] = reading(*child.inspect(payload, b""))
        return self._known[text]
