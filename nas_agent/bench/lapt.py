"""`bench lapt`: what transfer from one task to another is worth, against the controls that tell why.

Every arm that has a source may read the same number of its rows. LAPT (Zhou et al., AAAI 2025) is compared by what
its method would do without a language model: counting the most frequent operations of the source's best, then
regularised evolution inside; replay evaluates the source's best in order (ours: papers on transfer leave it out).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any, Literal

from nas_agent.bench.agent import Agent
from nas_agent.bench.baselines import Baseline, Evolution
from nas_agent.bench.compare import METHODS, Setting
from nas_agent.bench.methods import Meter, Method, Problem, Trace
from nas_agent.errors import ConfigError
from nas_agent.principles.constraint import Constraint
from nas_agent.principles.enrichment import most_frequent
from nas_agent.principles.principle import Evidence, Principle
from nas_agent.records import Architecture, Json, Measured, Outcome, Provenance
from nas_agent.spaces import Space
from nas_agent.tools.evaluators.base import Evaluation, Evaluator
from nas_agent.tools.recollection import Frozen
from nas_agent.tools.remembered import RecalledPrinciple
from nas_agent.tools.sources import Target, best_of, table_items

# Operations an edge that counting keeps: LAPT's settings (its release), two of five and three of four.
KEPT = {"trans101-micro": 3}
KEPT_ELSEWHERE = 2

Take = Literal["all", "principles", "outcomes", "counting", "shuffled", "shuffled-counting"]


@dataclass(frozen=True, slots=True)
class Pair:
    """From which task, in which space, to which."""

    source: Setting
    target: Setting

    @property
    def name(self) -> str:
        """E.g. cifar10 -> cifar100, with the spaces where they differ."""
        if self.source.space == self.target.space:
            return f"{self.source.task} -> {self.target.task}"
        return f"{self.source.space}:{self.source.task} -> {self.target.space}:{self.target.task}"


class Shuffled:
    """An evaluator whose values were dealt anew among its architectures: a source without any sense."""

    provenance: Provenance = "measured"

    def __init__(self, real: Evaluator, seed: int) -> None:
        pool = list(real.pool() or ())
        dealt = Random(f"shuffled {seed}").sample(pool, len(pool))
        self.name, self.fidelity = real.name, real.fidelity
        self._pool = pool
        self._real = real
        self._stands_for = {mine.id: other for mine, other in zip(pool, dealt, strict=True)}

    def pool(self) -> Sequence[Architecture]:
        """Return the real one's."""
        return self._pool

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Return the value of another architecture."""
        outcome = self._real.evaluate(self._stands_for[architecture.id], seed=seed)
        return replace(outcome, architecture=architecture)


@dataclass(frozen=True, kw_only=True)
class Transfer(Agent):
    """The agent with a source, or with a part of what a source gives."""

    source: Setting
    rows: int = 50
    take: Take = "all"

    def run(self, problem: Problem, seed: int, budget: int) -> Trace:
        """Search once, from what the source taught."""
        target = Target(problem.task, problem.space, None, None, self.rows)
        shuffled = seed if self.take.startswith("shuffled") else None
        if self.take in ("counting", "shuffled-counting"):
            return self.search(problem, seed, budget, Frozen(_counted(self.source, target, shuffled)))
        items = _items(self.source, target, shuffled)
        if self.take == "principles":
            items = [item for item in items if item["kind"] == "principle"]
        elif self.take == "outcomes":
            items = [item for item in items if item["kind"] != "principle"]
        return self.search(problem, seed, budget, Frozen(items))


@dataclass(frozen=True, kw_only=True)
class Replay(Baseline):
    """Measures the source's best in order, then goes on by regularised evolution from the best of them."""

    source: Setting
    rows: int = 50

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Replay, then evolve."""
        members = {member.id: member for member in problem.evaluator.pool() or ()}
        measured: list[tuple[float, Architecture]] = []
        for row in _best(self.source, self.rows):
            architecture = members.get(row.architecture.id)
            if architecture is not None:
                measured.append((meter.score(architecture), architecture))
        evolution = Evolution()
        measured.sort(key=lambda pair: pair[0])  # the oldest die first: let them be the worst
        evolution.go_on(problem, meter, rng, measured[-evolution.population :])


@dataclass(frozen=True, kw_only=True)
class Counting(Baseline):
    """LAPT without a language model: evolution inside the most frequent operations of each decision."""

    source: Setting
    rows: int = 50

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Evolve inside; once all of it is measured, outside from the best of it."""
        space, evaluator = problem.space, problem.evaluator
        constraints = _most_frequent(self.source, space, self.rows)
        evolution = Evolution(population=5, sample=3)  # five initial ones, as LAPT's release
        confined = replace(problem, evaluator=_Confined(evaluator, space, constraints))
        evolution.search(confined, meter, rng)
        outcomes = [outcome for outcome in meter.outcomes() if isinstance(outcome, Measured)]
        known = sorted(((problem.task.score(o.value), o.architecture) for o in outcomes), key=lambda pair: pair[0])
        Evolution().go_on(problem, meter, rng, known[-10:])


class _Confined:
    """An evaluator whose candidates obey some constraints."""

    def __init__(self, real: Evaluator, space: Space, constraints: Sequence[Constraint]) -> None:
        self.name, self.provenance, self.fidelity = real.name, real.provenance, real.fidelity
        self._evaluate = real.evaluate
        every = real.pool() or ()
        self._pool = [a for a in every if all(c.holds(space.choices(a)) for c in constraints)] or list(every)

    def pool(self) -> Sequence[Architecture]:
        """Return what obeys; everything, where nothing does."""
        return self._pool

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Measure."""
        return self._evaluate(architecture, seed=seed)


ARMS: dict[str, str] = {
    "transfer": "all that the source gives: its best first, its outcomes to the surrogate, its principles",
    "principles only": "the source's principles, nothing else of it",
    "outcomes only": "the source's best and outcomes, no principles of it",
    "counting agent": "the counting rule's constraints as principles of the agent",
    "shuffled source": "all of a source whose labels were shuffled",
    "shuffled principles": "the counting rule on shuffled labels",
    "agent": "no source",
    "agent, no principles": "no source and no principles",
    "replay + evolution": "the source's best in order, then regularised evolution",
    "counting + evolution": "regularised evolution inside the most frequent operations (LAPT without a model)",
    "evolution": "regularised evolution",
    "random": "random search",
}
MODEL_ARMS: dict[str, str] = {
    "transfer, model": "transfer, and a language model that learns principles",
    "transfer, model, anonymised": "the same, where the model sees neutral labels instead of names",
    "agent, model": "no source, and the language model",
}
REFERENCE = "transfer"


def arms(
    pair: Pair,
    rows: int,
    names: Sequence[str] | None = None,
    llm: str = "none",
    caps: tuple[tuple[str, Any], ...] = (),
) -> dict[str, Callable[..., Method]]:
    """Return what each arm is made by; across spaces those that need shared architectures are left out.

    `caps`: what each run may spend on its model, as fields of the configuration.
    """
    source = pair.source
    _check_names(names or (), llm)
    made: dict[str, Callable[..., Method]] = {
        "transfer": _Make(Transfer(source=source, rows=rows)),
        "principles only": _Make(Transfer(source=source, rows=rows, take="principles")),
        "outcomes only": _Make(Transfer(source=source, rows=rows, take="outcomes")),
        "counting agent": _Make(Transfer(source=source, rows=rows, take="counting")),
        "shuffled source": _Make(Transfer(source=source, rows=rows, take="shuffled")),
        "shuffled principles": _Make(Transfer(source=source, rows=rows, take="shuffled-counting")),
        "agent": METHODS["agent"],
        "agent, no principles": METHODS["agent-no-principles"],
        "replay + evolution": _Make(Replay(source=source, rows=rows)),
        "counting + evolution": _Make(Counting(source=source, rows=rows)),
        "evolution": METHODS["evolution"],
        "random": METHODS["random"],
    }
    if pair.source.space != pair.target.space:
        shared = ("principles only", "outcomes only", "counting agent", "shuffled principles", "replay + evolution")
        made = {name: make for name, make in made.items() if name not in (*shared, "counting + evolution")}
    if llm != "none":
        hidden = (("anonymise", True), *caps)
        made["transfer, model"] = _Make(Transfer(source=source, rows=rows, llm=llm, settings=caps))
        made["transfer, model, anonymised"] = _Make(Transfer(source=source, rows=rows, llm=llm, settings=hidden))
        made["agent, model"] = _Make(Agent(llm=llm, settings=caps))
    return {name: make for name, make in made.items() if not names or name in names}


def _check_names(names: Sequence[str], llm: str) -> None:
    unknown = [name for name in names if name not in ARMS and name not in MODEL_ARMS]
    if unknown:
        known = "; ".join([*ARMS, *MODEL_ARMS])
        raise ConfigError(f"--arms: expected some of these, with ';' between them: {known}; got {'; '.join(unknown)}")
    asking = [name for name in names if name in MODEL_ARMS]
    if asking and llm == "none":
        raise ConfigError(f"--arms {asking[0]}: needs a language model; add e.g. --llm openai:gpt-4o-mini")


@dataclass(frozen=True, slots=True)
class _Make:
    """Returns a method that is there already; picklable, as workers want it."""

    method: Method

    def __call__(self) -> Method:
        return self.method


# -- what sources give, once in each worker ---------------------------------------------------------------


@lru_cache(maxsize=8)
def _loaded(source: Setting) -> tuple[Space, Evaluation]:
    return source()


@lru_cache(maxsize=16)
def _items(source: Setting, target: Target, shuffled: int | None) -> list[Json]:
    space, evaluation = _loaded(source)
    return table_items(_dealt(evaluation, shuffled), space, target)


def _dealt(evaluation: Evaluation, shuffled: int | None) -> Evaluation:
    if shuffled is None:
        return evaluation
    return replace(evaluation, evaluator=Shuffled(evaluation.evaluator, shuffled))


@lru_cache(maxsize=8)
def _best(source: Setting, rows: int) -> list[Measured]:
    return best_of(_loaded(source)[1], rows)[0]


@lru_cache(maxsize=16)
def _counted(source: Setting, target: Target, shuffled: int | None) -> list[Json]:
    """Return the counting rule's constraints as principles that are believed from the start."""
    space, evaluation = _loaded(source)
    best, _ = best_of(_dealt(evaluation, shuffled), target.rows)
    chosen = [space.choices(measured.architecture) for measured in best]
    keep = KEPT.get(space.name, KEPT_ELSEWHERE)
    drafts = most_frequent(chosen, space.decisions, keep, author="counting")
    return [
        RecalledPrinciple(
            Principle("P1", 1, draft.text, draft.constraint, draft.author, "active", Evidence()),
            evaluation.task.name,
            "",
            "measured",
            1.0,
            f"the {keep} most frequent among the best {len(best)}",
            grounds="shares",
        ).to_dict()
        for draft in drafts
    ]


def _most_frequent(source: Setting, space: Space, rows: int) -> list[Constraint]:
    chosen = [space.choices(measured.architecture) for measured in _best(source, rows)]
    drafts = most_frequent(chosen, space.decisions, KEPT.get(space.name, KEPT_ELSEWHERE), author="counting")
    return [draft.constraint for draft in drafts]
