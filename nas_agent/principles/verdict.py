"""When a principle may constrain, when it is refuted, and when a neighbouring constraint is better.

All rules ask the same two questions: the effect over all measurements (Welch), and the rivalry between those
that obey and comparable ones that do not (ranks, near rounds). The first alone would believe a search's own
progress; the second alone has no size. The thresholds are ours. On NAS-Bench-201, every fifth proposal outside,
a planted false principle is retired within 30 evaluations in 89-99 % of searches by mutation (100 seeds, three
datasets) and in 97-100 % of searches with a surrogate (60 seeds); the price is that a true one is given up within
60 evaluations in 20-35 % and 0-18 % of them. One that helps on average but shuts out the optimum goes too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nas_agent.errors import PrincipleError
from nas_agent.principles.coding import Bools
from nas_agent.principles.constraint import Allowed, Constraint, Count, When
from nas_agent.principles.evidence import Measurements
from nas_agent.principles.principle import Evidence
from nas_agent.spaces.base import Decision
from nas_agent.wording import plural

SIDE = 3  # architectures wanted on each side of any comparison
CONVINCED = 1.64  # z of a rivalry that agrees: 5 %, one side
REFUTED = 2.0  # z of a rivalry that disagrees: 2.3 %, one side
UPSET = 0.01  # chance that the best measurements are all on the other side
# Comparable others after which a principle is given up when they win this share: it has to earn its place.
PATIENCE = ((4, 0.6), (5, 0.54), (8, 0.45))


# too narrow: right on the whole, but the very best do not obey.
Ruling = Literal["supported", "undecided", "too narrow", "refuted"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the measurements say about a constraint, with the sentence for the history."""

    ruling: Ruling
    why: str
    evidence: Evidence


def judge(measurements: Measurements, constraint: Constraint) -> Verdict:
    """Weigh a constraint against everything measured so far."""
    obeys = measurements.obey(constraint)
    evidence = measurements.evidence(obeys)
    followers, others = int(np.count_nonzero(obeys)), evidence.others
    if followers < SIDE or others < SIDE:
        obeying = plural(followers, "architecture obeys", "architectures obey")
        why = f"{obeying}, the number of others is {others}; {SIDE} of each are needed"
        return Verdict("undecided", why, evidence)
    rival = measurements.rivalry(~obeys, obeys)
    against = f"{rival.members} that do not obey beat {rival.wins:.0%} of comparable ones that do"
    if rival.members >= SIDE and rival.z >= REFUTED:
        return Verdict("refuted", f"{against} (z = {rival.z:.1f})", evidence)
    if evidence.high is not None and evidence.high < 0.0 and rival.wins > 0.5:
        return Verdict("refuted", f"those that obey score lower: {interval(evidence)}", evidence)
    if any(rival.members >= members and rival.wins >= wins for members, wins in PATIENCE):
        return Verdict("refuted", f"not supported: {against}", evidence)
    ahead = evidence.low is not None and evidence.low > 0.0 and rival.members >= SIDE and rival.z <= -CONVINCED
    lead, chance = _upset(measurements, obeys)
    if chance <= UPSET:
        why = f"the best {lead} do not obey although only {others} of {len(measurements)} do not (p = {chance:.3f})"
        return Verdict("too narrow" if ahead else "refuted", why, evidence)
    if ahead:
        why = f"obeying beats {1.0 - rival.wins:.0%} of {rival.members} comparable others"
        return Verdict("supported", f"{interval(evidence)}; {why}", evidence)
    return Verdict("undecided", f"{interval(evidence)}; {against}", evidence)


def better_neighbour(
    measurements: Measurements, constraint: Constraint, decisions: Sequence[Decision]
) -> tuple[Constraint, str] | None:
    """Return the constraint one step away that the measurements clearly prefer, and why."""
    obeys = measurements.obey(constraint)
    best: tuple[float, Constraint, str] | None = None
    for neighbour in neighbours(constraint, decisions):
        would = measurements.obey(neighbour)
        gained, lost = would & ~obeys, obeys & ~would
        if np.any(gained) and not np.any(lost):
            rival = measurements.rivalry(gained, obeys)
            why = f"loosened: {rival.members} that it shut out beat {rival.wins:.0%} of comparable ones that obey"
        elif np.any(lost) and not np.any(gained):
            rival = measurements.rivalry(would, lost)
            why = f"tightened: {rival.members} that obey it beat {rival.wins:.0%} of comparable ones it now shuts out"
            if np.count_nonzero(lost) < SIDE:
                continue
        else:
            continue
        if rival.members >= SIDE and rival.z >= REFUTED and (best is None or rival.z > best[0]):
            best = rival.z, neighbour, f"{why} (z = {rival.z:.1f})"
    return None if best is None else best[1:]


def neighbours(constraint: Constraint, decisions: Sequence[Decision]) -> Iterator[Constraint]:
    """Yield the valid constraints that allow one option, or one occurrence, more or less."""
    options = {decision.name: decision.options for decision in decisions}
    match constraint:
        case Allowed():
            for option in options[constraint.decision]:
                changed = set(constraint.options) ^ {option}
                if 0 < len(changed) < len(options[constraint.decision]):
                    yield Allowed(constraint.decision, tuple(changed))
        case Count():
            least, most = constraint.at_least, constraint.at_most
            steps = [replace(constraint, at_least=least + step) for step in (-1, 1) if least > 0]
            if most is not None:
                steps += [replace(constraint, at_most=most + step) for step in (-1, 1)]
            for step in steps:
                trivial = step.at_least == 0 and (step.at_most is None or step.at_most >= len(decisions))
                if not trivial and is_valid(step, decisions):
                    yield step
        case When():
            for then in neighbours(constraint.then, decisions):
                assert isinstance(then, Allowed)
                yield When(constraint.decision, constraint.options, then)


def is_valid(constraint: Constraint, decisions: Sequence[Decision]) -> bool:
    """Tell whether the space knows the constraint and some architecture obeys it."""
    try:
        constraint.check(decisions)
    except PrincipleError:
        return False
    return True


def interval(evidence: Evidence) -> str:
    """Write the effect for a history line."""
    if evidence.effect is None or evidence.low is None or evidence.high is None:
        return "effect unknown"
    return f"effect {evidence.effect:+.2f} (95 % {evidence.low:+.2f} to {evidence.high:+.2f})"


def _upset(measurements: Measurements, obeys: Bools) -> tuple[int, float]:
    """Return how many of the very best do not obey, and the chance of that if obeying did not matter."""
    best_first = np.argsort(-measurements.scores, kind="stable")
    following = np.flatnonzero(obeys[best_first])
    lead = int(following[0]) if len(following) else len(obeys)
    if lead and len(following) and measurements.scores[best_first[lead]] == measurements.scores[best_first[lead - 1]]:
        lead -= 1  # a tie is no lead
    size, others = len(obeys), int(np.count_nonzero(~obeys))
    chance = 1.0
    for place in range(lead):
        chance *= (others - place) / (size - place)
    return lead, chance
