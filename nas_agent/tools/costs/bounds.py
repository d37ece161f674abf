"""Which architectures a search may measure: those within its limits."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from nas_agent.errors import ConfigError
from nas_agent.objectives import Limit
from nas_agent.records import Architecture, Json
from nas_agent.spaces.base import Space
from nas_agent.tools.costs.sources import Costs
from nas_agent.wording import plural

DRAWS = 500  # uniform draws of a space that cannot be listed, after which limits count as impossible to keep


class Bounds:
    """The limits of a search, cheapest question first."""

    def __init__(self, limits: Sequence[Limit], costs: Costs) -> None:
        self._limits = sorted(limits, key=lambda limit: costs.of(limit.quantity).timed)  # stable: as given otherwise
        self._costs = costs

    def refusal(self, architecture: Architecture) -> str:
        """Say which limit is broken, as advice; "" where all are kept. What is not known breaks a limit."""
        for limit in self._limits:
            value = self._costs.of(limit.quantity)(architecture)
            if not limit.keeps(value):
                has = "not known" if value is None else limit.quantity.show(value)
                return f"{limit.quantity.name} is {has}, the limit is {limit.quantity.show(limit.most)}"
        return ""

    def within(self, pool: Sequence[Architecture]) -> list[Architecture]:
        """Return the members of a pool that keep all limits; ConfigError where there are none."""
        kept = [member for member in pool if not self.refusal(member)]
        if not kept:
            looked = f"all {plural(len(pool), 'candidate')} were looked at"
            raise ConfigError(f"--limit: {self._nobody(pool, looked)}")
        return kept

    def check_drawn(self, space: Space, seed: int) -> None:
        """See that some architecture of a space that cannot be listed keeps the limits; ConfigError after DRAWS."""
        rng = Random(f"{seed}/limits")
        drawn = []
        for _ in range(DRAWS):
            drawn.append(space.sample(rng))
            if not self.refusal(drawn[-1]):
                return
        raise ConfigError(f"--limit: {self._nobody(drawn, f'after {DRAWS} uniform draws of the space')}")

    def _nobody(self, seen: Sequence[Architecture], how: str) -> str:
        told = []
        for limit in self._limits:
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
