"""What a search wants besides the metric, wired: its limits, its second objective, and the costs that both speak of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas_agent.config import Config
from nas_agent.errors import ConfigError
from nas_agent.objectives import Limit, Quantity, limits, reference, second_objective
from nas_agent.records import Architecture, Json
from nas_agent.spaces.base import Space
from nas_agent.tools.costs.bounds import Bounds
from nas_agent.tools.costs.networks import Timed
from nas_agent.tools.costs.sources import Costs
from nas_agent.tools.evaluators.base import Evaluation


@dataclass(frozen=True, slots=True)
class Wishes:
    """Limits, a second objective, or both."""

    costs: Costs
    limits: tuple[Limit, ...]
    bounds: Bounds | None  # None without limits
    objective: Quantity | None  # None where the metric is all
    reference: dict[str, float] | None  # `value` and `cost` as given; None: see `fronts.py`

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Every cost that is spoken of, once."""
        named = [limit.quantity for limit in self.limits] + ([] if self.objective is None else [self.objective])
        return tuple(dict.fromkeys(named))

    def admitted(self, pool: Sequence[Architecture] | None, space: Space, seed: int) -> Sequence[Architecture] | None:
        """Return the candidates within the limits; ConfigError where nothing is, as far as one can see."""
        if self.bounds is None:
            return pool
        kept = None if pool is None else self.bounds.within(pool)
        if kept is None or self.bounds.asks:
            self.bounds.check_drawn(space, kept, seed)
        return kept

    def refusal(self, architecture: Architecture) -> str:
        """Say which limit an architecture breaks; "" where it keeps all."""
        return "" if self.bounds is None else self.bounds.refusal(architecture)

    def of(self, architecture: Architecture) -> dict[str, float | None]:
        """Return the costs of an architecture by name."""
        return {quantity.name: self.costs.of(quantity)(architecture) for quantity in self.quantities}

    def logged(self, architecture: Architecture) -> Json:
        """Return the costs for the log; of what was timed, the quartiles of its runs too."""
        told: Json = {"costs": self.of(architecture)}
        for quantity in self.quantities:
            cost = self.costs.of(quantity)
            if isinstance(cost, Timed) and architecture.id in cost.spreads:
                told["spreads"] = {quantity.name: list(cost.spreads[architecture.id])}
        return told

    def remember(self, events: Sequence[Json]) -> None:
        """Take over what an earlier process of this run has timed."""
        for quantity in self.quantities:
            timed = {}
            for event in events:
                if event["type"] == "proposal":
                    timed[event["proposal"]["architecture"]["id"]] = event.get("costs", {}).get(quantity.name)
                elif event["type"] == "refused":
                    timed |= {item["id"]: item["costs"].get(quantity.name) for item in event["architectures"]}
            self.costs.remember(quantity, timed)

    def about(self, listed: tuple[int, int] | None, most: float | None) -> Json:
        """Say what the log of a run begins with: where costs are known from, what limits leave, the largest cost.

        `listed`: candidates without the limits, and with them, where they can be listed.
        """
        told: Json = {"costs": {q.name: {"origin": self.costs.of(q).origin, "unit": q.unit} for q in self.quantities}}
        if self.bounds is not None and listed is not None:
            told["within_limits"] = {"candidates": listed[0], "within": listed[1]}
        if self.reference is not None:
            told["reference"] = self.reference
        if most is not None:
            told["most"] = most
        return told

    def most(self, pool: Sequence[Architecture] | None) -> float | None:
        """Return the largest second objective among listed candidates, where all can be asked."""
        if self.objective is None or pool is None:
            return None
        cost = self.costs.of(self.objective)
        if cost.effort != "instant":
            return None
        return max((value for member in pool if (value := cost(member)) is not None), default=None)


def make_wishes(config: Config, space: Space, evaluation: Evaluation) -> Wishes | None:
    """Find out what the configuration wants, and where its costs are known from; None where it wants the metric alone.

    ConfigError for what nothing knows.
    """
    wanted = limits(config.limits)
    objective = second_objective(config.objectives, evaluation.task.metric)
    if config.reference is not None and objective is None:
        raise ConfigError(f"--reference '{config.reference}': expected --objectives beside it; add them")
    if not wanted and objective is None:
        return None
    costs = evaluation.costs or Costs(space, evaluation)
    given = None if config.reference is None or objective is None else reference(config.reference, objective)
    for quantity in dict.fromkeys([limit.quantity for limit in wanted] + ([objective] if objective else [])):
        if costs.of(quantity).effort == "timed" and quantity == objective:
            raise ConfigError(
                "--objectives: latency on this machine would be measured of every proposal; name a device whose "
                "latencies a table has (latency@DEVICE), take flops, or limit it: --limit 'latency<=20ms'"
            )
    return Wishes(costs, wanted, Bounds(wanted, costs) if wanted else None, objective, given)
