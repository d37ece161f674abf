"""The principles of a run: a pure function of its changes, which are what the event log holds.

`consider`, `review` and `adopt` suggest changes and alter nothing; the caller logs each change and applies
it. What was retired stays retired for the rest of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nas_agent.errors import PrincipleError
from nas_agent.principles.constraint import Constraint
from nas_agent.principles.evidence import Measurements
from nas_agent.principles.principle import Action, Change, Draft, Evidence, Observation, Principle, Status
from nas_agent.principles.refinement import Refinement, forbids, room, satisfiable
from nas_agent.principles.statistics import sentence
from nas_agent.principles.verdict import Verdict, better_neighbour, judge
from nas_agent.records import Provenance
from nas_agent.spaces.base import Decision

ROOM = 64  # architectures that learned principles must leave together (LAPT's two options on six edges: 64)
PERSON = "person"  # the author of principles that somebody planted
SO_IT_WAITS = ", so it waits"  # ends why a principle that was taken over is a candidate
CANDIDATE_LIFE = 40  # evaluations within which a candidate must find support


class Library:
    """All principles of a run, whatever their status."""

    def __init__(self, decisions: Sequence[Decision], changes: Iterable[Change] = ()) -> None:
        self.decisions = tuple(decisions)
        self._principles: dict[str, Principle] = {}
        self._known: set[Constraint] = set()
        self._since: dict[str, int] = {}  # id -> evaluations known when it was created
        self._room = min(ROOM, room(self.decisions, [], 4 * ROOM) // 4)
        self._refinement: Refinement | None = None
        self._measurements = Measurements(self.decisions)
        self._last: Observation | None = None
        for change in changes:
            self.apply(change)

    # -- what is known ------------------------------------------------------------------------------

    @property
    def principles(self) -> tuple[Principle, ...]:
        """The latest version of each principle, oldest first."""
        return tuple(self._principles.values())

    @property
    def active(self) -> tuple[Principle, ...]:
        """The principles that may constrain."""
        return self._with("active")

    @property
    def candidates(self) -> tuple[Principle, ...]:
        """Those that wait for evidence."""
        return self._with("candidate")

    @property
    def retired(self) -> tuple[Principle, ...]:
        """Those that the evidence refuted."""
        return self._with("retired")

    def refinement(self) -> Refinement:
        """Return the space under the active principles; the same object until one of them changes."""
        if self._refinement is None:
            self._refinement = Refinement(self.decisions, self.active)
        return self._refinement

    # -- what changes it ----------------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """Take one step of a history, as suggested below or as read from an event log."""
        principle = change.principle
        before = self._principles.get(principle.id)
        if before is None or before.status != principle.status or before.version != principle.version:
            self._refinement = None
        self._since.setdefault(principle.id, change.evaluations)
        self._principles[principle.id] = principle
        self._known.add(principle.constraint)

    def know(self, constraint: Constraint) -> None:
        """Never suggest this constraint again: a person was asked about it."""
        self._known.add(constraint)

    def adopt(
        self, principles: Sequence[Principle | Draft], why: str, evaluations: int, *, doubt: str = ""
    ) -> list[Change]:
        """Take over principles of a person or another task: active at once, tested by this run's evidence alone.

        One that contradicts those before it waits as a candidate, and so do all of them where `doubt` says why;
        PrincipleError where the space does not know one.
        """
        changes: list[Change] = []
        constraints = [principle.constraint for principle in self.active]
        for given in principles:
            given.constraint.check(self.decisions)
            if given.constraint in self._known or any(c.principle.constraint == given.constraint for c in changes):
                continue
            number = len({change.principle.id for change in changes}) + len(self._principles) + 1
            origin = given.origin if isinstance(given, Principle) else None
            principle = Principle(f"P{number}", 1, given.text, given.constraint, given.author, origin=origin)
            if doubt:
                changes.append(Change("created", principle, f"{why}; {doubt}{SO_IT_WAITS}", evaluations))
                continue
            if not satisfiable(self.decisions, [*constraints, given.constraint]):
                waits = f"{why}; no architecture obeys it together with the active principles{SO_IT_WAITS}"
                changes.append(Change("created", principle, waits, evaluations))
                continue
            constraints.append(given.constraint)
            changes.append(Change("created", principle, why, evaluations))
            changes.append(_change("activated", principle, why, evaluations))
        return changes

    def adopt_recalled(
        self,
        principle: Principle,
        provenance: Provenance,
        why: str,
        evaluations: int,
        *,
        proven: bool = False,
        doubt: str = "",
    ) -> list[Change]:
        """Take over a principle of another task; one without measured support there waits for support here.

        Support is an effect whose interval lies above zero, or what `proven` vouches for: nearly all of the best
        obey and few others do. `provenance` is that of the values behind it. What a person said needs none.
        `doubt` is a reason of the caller's why it shall wait.
        """
        if principle.author != PERSON and not (proven and provenance == "measured"):
            doubt = doubt or needs_support(principle, provenance)
        return self.adopt([principle], why, evaluations, doubt=doubt)

    def consider(self, drafts: Sequence[Draft], observations: Sequence[Observation], evaluations: int) -> list[Change]:
        """Check drafts against the space and the evidence; the good become active, the refuted are retired.

        Drafts that do not fit the space, or say what is known or implied already, change nothing.
        """
        measurements = Measurements(self.decisions)
        measurements.extend(observations)
        changes: list[Change] = []
        constraints = [principle.constraint for principle in self.active]
        known, number = set(self._known), len(self._principles)
        for draft in drafts:
            if draft.constraint in known or not self.accepts(draft.constraint):
                continue
            if not forbids(draft.constraint, self.decisions, constraints):
                continue  # the active principles imply it; it may come again when one of them is gone
            known.add(draft.constraint)
            number += 1
            verdict = judge(measurements, draft.constraint)
            created = Principle(f"P{number}", 1, draft.text, draft.constraint, draft.author, evidence=verdict.evidence)
            changes.append(Change("created", created, f"suggested by {draft.author}", evaluations))
            step = self._decide(created, verdict, constraints, evaluations)
            if step is not None:
                changes.append(step)
                if step.action == "activated":
                    constraints.append(draft.constraint)
        return changes

    def review(self, observations: Sequence[Observation], evaluations: int) -> list[Change]:
        """Weigh every living principle again on this run's observations, which only ever grow.

        Retires, revises or activates; `credited` is suggested only where the evidence changed materially.
        """
        measurements = self._measured(observations)
        changes: list[Change] = []
        living = {principle.id: principle.constraint for principle in self.active}
        known = set(self._known)  # and what this review revises: two principles must not become the same one
        for principle in (*self.active, *self.candidates):
            verdict = judge(measurements, principle.constraint)
            now = replace(principle, evidence=verdict.evidence)
            step = None
            if principle.status == "candidate":
                step = self._decide(now, verdict, list(living.values()), evaluations)
            elif verdict.ruling in {"supported", "too narrow"}:
                step = self._revise(now, measurements, living, known, evaluations)
            if principle.status == "active" and step is None and verdict.ruling in {"too narrow", "refuted"}:
                step = _change("retired", now, verdict.why, evaluations)
            if step is None and _material(principle.evidence, verdict.evidence):
                step = _change("credited", now, verdict.why, evaluations)
            if step is None:
                continue
            changes.append(step)
            known.add(step.principle.constraint)
            if step.principle.status == "active":
                living[step.principle.id] = step.principle.constraint
            else:
                living.pop(step.principle.id, None)
        return changes

    def accepts(self, constraint: Constraint) -> bool:
        """Tell whether a constraint fits the space and forbids something."""
        try:
            constraint.check(self.decisions)
        except PrincipleError:
            return False
        return forbids(constraint, self.decisions)

    # -- behind the scenes --------------------------------------------------------------------------

    def _with(self, status: Status) -> tuple[Principle, ...]:
        return tuple(principle for principle in self._principles.values() if principle.status == status)

    def _decide(
        self, candidate: Principle, verdict: Verdict, constraints: list[Constraint], evaluations: int
    ) -> Change | None:
        """Activate or retire a candidate, or leave it waiting."""
        if verdict.ruling in {"too narrow", "refuted"}:
            return _change("retired", candidate, verdict.why, evaluations)
        if verdict.ruling == "supported":
            if room(self.decisions, [*constraints, candidate.constraint], self._room) >= self._room:
                return _change("activated", candidate, verdict.why, evaluations)
        elif evaluations - self._since.get(candidate.id, evaluations) >= CANDIDATE_LIFE:
            why = f"found no support in {CANDIDATE_LIFE} evaluations: {verdict.why}"
            return _change("retired", candidate, why, evaluations)
        return None

    def _revise(
        self,
        principle: Principle,
        measurements: Measurements,
        living: dict[str, Constraint],
        known: set[Constraint],
        evaluations: int,
    ) -> Change | None:
        """Move to a clearly better neighbour that is new and leaves room."""
        found = better_neighbour(measurements, principle.constraint, self.decisions)
        if found is None:
            return None
        constraint, why = found
        others = [other for identity, other in living.items() if identity != principle.id]
        if constraint in known or room(self.decisions, [*others, constraint], self._room) < self._room:
            return None
        evidence = measurements.weigh(constraint)
        revised = replace(
            principle,
            version=principle.version + 1,
            constraint=constraint,
            text=sentence(constraint, self.decisions),  # the first wording stays with version 1
            evidence=evidence,
        )
        return _change("revised", revised, why, evaluations)

    def _measured(self, observations: Sequence[Observation]) -> Measurements:
        """Return the observations as arrays, converting only those that are new since the last review."""
        known = len(self._measurements)
        if known > len(observations) or (known and observations[known - 1] != self._last):
            self._measurements, known = Measurements(self.decisions), 0
        self._measurements.extend(observations[known:])
        self._last = observations[-1] if observations else None
        return self._measurements


def needs_support(principle: Principle, provenance: Provenance) -> str:
    """Say why a principle from elsewhere must wait for support; "" where it may constrain at once."""
    if principle.author == PERSON:
        return ""
    if provenance == "predicted":
        return "its evidence was predicted, not measured"
    return "" if _sign(principle.evidence) > 0 else "its effect was not clearly above zero there"


_AFTER: dict[Action, Status] = {
    "activated": "active",
    "credited": "active",
    "revised": "active",
    "retired": "retired",
}


def _change(action: Action, principle: Principle, why: str, evaluations: int) -> Change:
    status = principle.status if action == "credited" else _AFTER[action]
    return Change(action, replace(principle, status=status), why, evaluations)


def _material(before: Evidence, now: Evidence) -> bool:
    """Tell whether the evidence changed so much that the log should say so: its verdict, or half as much again."""
    sizes = [len(e.supporting) + len(e.opposing) + e.others for e in (before, now)]
    return _sign(before) != _sign(now) or sizes[1] >= 1.5 * sizes[0] + 5


def _sign(evidence: Evidence) -> int:
    if evidence.low is None or evidence.high is None:
        return 0
    return int(evidence.low > 0.0) - int(evidence.high < 0.0)
