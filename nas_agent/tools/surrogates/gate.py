"""Whether the surrogate deserves to choose, judged by what was measured after it predicted (ours).

A prediction is the expected normal score of an architecture among the outcomes known when it was chosen; its outcome
is the normal score that it turned out to have among the same ones. Zero is what ignorance predicts: where a choice has
nothing to do with the outcome, the rank among earlier outcomes is uniform and independent of all earlier such ranks
(Rényi 1962), so the sum of prediction times score is a martingale around zero whatever is predicted.

The gate asks which share of what was predicted came true: the slope of scores on predictions through zero. A search
picks from a narrow range of predictions, which pulls any correlation towards zero, but leaves a slope where it is,
since what is picked by the prediction is picked by the regressor (Pearson 1903). A score has at most variance one, so
1 / sqrt(sum of squared predictions) is the error. Small claims weigh little and alone decide nothing: looking again
after each of them, chance would convict an honest surrogate in the end.

The surrogate steps back where even the upper end of the interval is below TRUSTED, and then predicts on in silence;
it comes back where the lower end is above REGAINED. Each change begins a new list of evidence, so neither is hasty.
A view of events and nothing else: a resumed search steps back where the search that was never stopped does.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from statistics import NormalDist, median
from typing import Literal

from nas_agent.records import Json, Task

# Who or what chose a proposal for measurement:
Choice = Literal["initial", "chance", "surrogate", "rejected", "order", "promoted"]

TRUSTED = 0.6  # steps back where surely less of what it predicted came true
REGAINED = 0.3  # comes back where surely more did
PAIRS = 10  # predictions with outcomes before anything is decided
CLAIMED = 3.0  # sum of squared predictions before anything is decided: an error of .58
WINDOW = 30  # of the latest ones that count
QUANTILE = 1.645  # of the normal distribution: intervals of 90 %
UNDISTURBED = 20  # evaluations before the first rejected proposal may be measured
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Standing:
    """How predictions and outcomes agree: over the latest WINDOW of them, since the last change."""

    pairs: int
    correlation: float  # of predictions and normal scores about zero, from -1 to 1: biased where the range is narrow
    share: float  # of what was predicted that came true: 0 is chance, 1 as predicted, negative the opposite
    low: float  # ends of the 90 % interval of `share`
    high: float
    claimed: float  # sum of squared predictions: how much there was to be wrong about

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rejections:
    """What became of rejected proposals that were measured all the same."""

    measured: int
    false: int  # better than the median of those that the surrogate chose
    best: int  # better than all of those
    high: float | None  # upper 95 % bound on the share of false ones among rejected proposals; None without any

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return asdict(self)


@dataclass(slots=True)
class Gate:
    """Follow the events of a search; read whether the surrogate stands back."""

    task: Task
    away: bool = False
    changes: list[Json] = field(default_factory=list)  # the `gate` events
    predicted: int = 0  # outcomes that were predicted, all in all
    _scores: list[float] = field(default_factory=list)  # of all outcomes; minus infinity is a failure
    _waiting: dict[str, tuple[Json, int]] = field(default_factory=dict)  # `proposal` events, outcomes known then
    _pairs: list[tuple[float, float]] = field(default_factory=list)  # prediction and score, since the last change
    _chosen: list[float] = field(default_factory=list)  # scores of what the surrogate chose inside the principles
    _rejected: list[float] = field(default_factory=list)
    _turns: int = 0  # evaluations that the surrogate decided on, the undisturbed ones left out
    _lowest: Json | None = None  # of several fidelities, the one at which all new architectures are measured

    def follow(self, event: Json) -> None:
        """Take one event in; logs older than the gate say less, and give less evidence."""
        match event["type"]:
            case "started":
                self._lowest = event["fidelities"][0]["at"] if event.get("fidelities") else None
            case "proposal":
                if event.get("choice") == "promoted":
                    return
                self._waiting[event["proposal"]["architecture"]["id"]] = event, len(self._scores)
            case "outcome":
                outcome = event["outcome"]
                if self._lowest is not None and outcome.get("at") != self._lowest:
                    return  # values of different fidelities are not compared
                failed = outcome["kind"] == "failed"
                score = -math.inf if failed else self.task.score(float(outcome.get("expected", outcome["value"])))
                found = self._waiting.pop(outcome["architecture"]["id"], None)
                if found is not None:
                    self._judge(*found, score)
                self._scores.append(score)
            case "gate":
                self.away = event["action"] == "stepped back"
                self.changes.append({key: value for key, value in event.items() if key not in {"type", "wall"}})
                self._pairs.clear()

    def _judge(self, proposal: Json, known: int, score: float) -> None:
        choice = proposal.get("choice")
        self._turns += _counts(proposal)
        if choice == "rejected":
            self._rejected.append(score)
        elif choice == "surrogate" and not proposal["proposal"]["outside"]:
            self._chosen.append(score)
        mean = (proposal.get("expected") or {}).get("mean")
        if mean is not None and known:
            self._pairs.append((float(mean), normal_score(score, self._scores[:known])))
            self.predicted += 1

    def standing(self) -> Standing | None:
        """Return how predictions and outcomes agree; None where nothing but zero was predicted."""
        pairs = self._pairs[-WINDOW:]
        claimed = math.fsum(mean * mean for mean, _ in pairs)
        if claimed <= 1e-12:
            return None
        spread = math.fsum(score * score for _, score in pairs)
        both = math.fsum(mean * score for mean, score in pairs)
        error = QUANTILE / math.sqrt(claimed)
        share = both / claimed
        correlation = both / math.sqrt(claimed * spread) if spread else 0.0
        return Standing(len(pairs), correlation, share, share - error, share + error, claimed)

    def turn(self) -> Json | None:
        """Return the data of the `gate` event that is due; None while all stays as it is."""
        standing = self.standing()
        if standing is None or standing.pairs < PAIRS or standing.claimed < CLAIMED:
            return None
        if self.away and standing.low > REGAINED:
            action = "came back"
        elif not self.away and standing.high < TRUSTED:
            action = "stepped back"
        else:
            return None
        return {"action": action, "evaluations": len(self._scores), "standing": standing.to_dict()}

    def owed(self, share: float, room: int) -> int:
        """Return how many of the next `room` evaluations a rejected proposal should have."""
        under_way = [event for event, _ in self._waiting.values()]
        beyond = len(self._scores) + len(under_way) + room - UNDISTURBED
        if self.away or beyond <= 0:
            return 0
        turns = self._turns + sum(_counts(event) for event in under_way)
        given = len(self._rejected) + sum(bool(event.get("choice") == "rejected") for event in under_way)
        due = math.floor(share * (turns + min(room, beyond))) - given
        return max(0, min(due, room))

    def rejections(self) -> Rejections:
        """Count the false rejections among what was measured against the surrogate's advice."""
        middle, top = (median(self._chosen), max(self._chosen)) if self._chosen else (math.inf, math.inf)
        measured = len(self._rejected)
        false = sum(score > middle for score in self._rejected)
        best = sum(score > top for score in self._rejected)
        return Rejections(measured, false, best, upper_bound(false, measured) if measured else None)

    def to_dict(self) -> Json:
        """Sum it up as plain JSON types."""
        standing = self.standing()
        return {
            "away": self.away,
            "predicted": self.predicted,
            "standing": None if standing is None else standing.to_dict(),
            "changes": self.changes,
            "rejected": self.rejections().to_dict(),
        }


def _counts(proposal: Json) -> bool:
    """Tell whether the surrogate had a turn of which rejected proposals have a share."""
    turns = proposal.get("choice") in {"surrogate", "rejected"}
    return turns and int(proposal["evaluation"]) > UNDISTURBED


def normal_score(score: float, known: list[float]) -> float:
    """Return the normal quantile of a score's rank among known ones and itself; ties share their mean rank."""
    rank = sum(other < score for other in known) + 0.5 * sum(other == score for other in known)
    return NORMAL.inv_cdf((rank + 0.5) / (len(known) + 1))


def upper_bound(count: int, of: int, level: float = 0.95) -> float:
    """Return the one-sided upper bound of a share (Clopper and Pearson 1934)."""
    if count == of:
        return 1.0
    low, high = count / of, 1.0
    for _ in range(50):  # bisection: the chance of so few falls as the share grows
        share = (low + high) / 2
        chance = sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count + 1))
        low, high = (share, high) if chance > 1 - level else (low, share)
    return high
