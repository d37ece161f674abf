"""Which architectures a search may measure: those within its limits."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import get_args

from nas_agent.errors import ConfigError
from nas_agent.objectives import Limit
from nas_agent.records import Architecture, Json
from nas_agent.spaces.base import Space
from nas_agent.tools.costs.base import Effort
from nas_agent.tools.costs.sources import Costs
from nas_agent.wording import plural

# Uniform draws after which limits count as impossible to keep, where not all candidates can be asked:
DRAWS, TIMED_DRAWS = 500, 30


class Bounds:
    """The limits of a search, cheapest question first."""

    def __init__(self, limits: Sequence[Limit], costs: Costs) -> None:
        efforts = get_args(Effort)
        self._limits = sorted(limits, key=lambda limit: efforts.index(costs.of(limit.quantity).effort))
        self._costs = costs

    @property
    def asks(self) -> list[Limit]:
        """The limits that take a network or a clock for each architecture; listed candidates are not sifted by them."""
        return [limit for limit in self._limits if self._costs.of(limit.quantity).effort != "instant"]

    def refusal(self, architecture: Architecture, *, of: Sequence[Limit] | None = None) -> str:
        """Say which limit is broken, as advice; "" where all are kept. What is not known breaks a limit."""
        for limit in self._limits if of is None else of:
            value = self._costs.of(limit.quantity)(architecture)
            if not limit.keeps(value):
                has = "not known" if value is None else limit.quantity.show(value)
                return f"{limit.quantity.name} is {has}, the limit is {limit.quantity.show(limit.most)}"
        return ""

    def within(self, pool: Sequence[Architecture]) -> list[Architecture]:
        """Return the members of a pool that keep all limits that are known at once; ConfigError where there are none.

        `asks` are the others.
        """
        instant = self._limits[: len(self._limits) - len(self.asks)]
        kept = [member for member in pool if not self.refusal(member, of=instant)]
        if not kept:
            looked = f"all {plural(len(pool), 'candidate')} were looked at"
            raise ConfigError(f"--limit: {self._nobody(pool, looked, instant)}")
        return kept

    def check_drawn(self, space: Space, pool: Sequence[Architecture] | None, seed: int) -> None:
        """See that some architecture keeps the limits, where not all can be asked; ConfigError after some draws."""
        rng = Random(f"{seed}/limits")
        timed = any(self._costs.of(limit.quantity).effort == "timed" for limit in self._limits)
        drawn: list[Architecture] = []
        for _ in range(TIMED_DRAWS if timed else DRAWS):
            drawn.append(space.sample(rng) if pool is None else rng.choice(pool))
            if not self.refusal(drawn[-1]):
                return
        raise ConfigError(f"--limit: {self._nobody(drawn, f'after {len(drawn)} uniform draws', self._limits)}")

    def _nobody(self, seen: Sequence[Architecture], how: str, limits: Sequence[Limit]) -> str:
        told = []
        for limit in limits:
            cost = self._costs.of(limit.quantity)
            values = [value for member in seen if (value := cost(member)) is not None]
            least = f"the least is {limit.quantity.show(min(values))}" if values else "it is known of none"
            kept = sum(map(limit.keeps, values))
            told.append(f"{limit} is kept by {kept:,}, {least}" if kept or values else f"{limit}: {least}")
        together = " (each alone, but by none together)" if all("kept by 0" not in text for text in told) else ""
        return f"nothing keeps the limits{together}: {'; '.join(told)}; {how}; raise a limit"

    def to_dict(self) -> list[Json]:
        """As plain JSON types: each limit, and where its numbers come from."""
        return [
            {
                "text": str(limit),
                "quantity": limit.quantity.name,
                "most": limit.most,
                "origin": self._costs.of(limit.quantity).origin,
            }
            for limit in self._limits
        ]
