"""What architectures cost, known without training them: by a table, by counting, or by a clock."""

from __future__ import annotations

from nas_agent.tools.costs.base import Cost
from nas_agent.tools.costs.bounds import Bounds
from nas_agent.tools.costs.sources import Costs

__all__ = ["Bounds", "Cost", "Costs"]
