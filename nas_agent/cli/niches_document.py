"""What a run of quality diversity has found, as plain JSON: the archive, ancestors of the best, what prompts did."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nas_agent.errors import ConfigError, RunFolderError
from nas_agent.records import Architecture, Failed, Measured, Miss, Trial
from nas_agent.tools.tried import Tried

if TYPE_CHECKING:
    from nas_agent.agents.generators.quality_diversity import Illumination
    from nas_agent.cli.story import Story

Json = dict[str, Any]
Source = Callable[[Architecture], str]
COUNTED = ("tried", "made", "known", "measured", "trainable", "entered", "improved")
GENERATIONS = 60  # of ancestors that are told, the youngest ones


def as_document(story: Story, source: Source) -> Json:
    """Build it from the log alone; ConfigError where the run keeps no archive. `source` writes a network as code."""
    if story.config.generator != "code":
        raise ConfigError(
            f"{story.folder.path.name} keeps no archive: it was run with --generator {story.config.generator}; "
            "give a run with --generator code"
        )
    tried, state = _replayed(story)
    trials = {one.outcome.architecture.id: one for one in tried if isinstance(one, Trial)}
    niches, task = state.networks, story.task
    centres = niches.centres()
    return {
        "run": story.folder.path.name,
        "task": task.name,
        "metric": task.metric,
        "unit": task.unit,
        "space": story.space_name,
        "kind": niches.kind,
        "axes": [axis.to_dict() for axis in niches.axes],
        "centres": centres.tolist(),
        "edges": [line.tolist() for line in niches.edges()],
        "evaluations": state.trials,
        "filled": len(niches.elites),
        "niches": niches.cells,
        "coverage": niches.coverage,
        "qd_score": niches.qd_score if task.maximise else None,  # scores below zero have no sum that means something
        "outside": niches.outside,
        "curve": [[p.evaluations, p.filled, p.qd_score if task.maximise else None, p.best] for p in state.curve],
        "elites": [
            {
                "niche": niche,
                "value": task.score(elite.score),
                "measures": list(elite.measures),
                "place": [axis.place(value) for axis, value in zip(niches.axes, elite.measures, strict=True)],
                **_told(trials[elite.key], story, source),
            }
            for niche, elite in sorted(niches.elites.items())
        ],
        "lineage": _lineage(state, trials, story, source),
        "operators": (operators := _operators(tried, state, story)),
        "kinds": _kinds(operators),
        "failures": _failures(tried),
        "prompts": _prompts(state),
        "temperature": state.temperature,
    }


def _replayed(story: Story) -> tuple[Sequence[Trial | Miss], Illumination]:
    from nas_agent.agents.generators.quality_diversity import Axis, Illumination, settings_of

    tried = Tried()
    try:
        for event in story.events:
            tried.follow(event)
        axes = [Axis(**axis) for axis in story.started["axes"]]
        nothing = Architecture(story.space_name, "", "")
        state = Illumination(story.task, axes, nothing, settings_of(story.config))
        state.follow(tried.items)
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{story.folder.events}: its archive cannot be made again ({type(error).__name__} {error}); "
            "mend the log, or start a new run"
        ) from error
    return tried.items, state


def _told(trial: Trial, story: Story, source: Source) -> Json:
    proposal, architecture = trial.proposal, trial.proposal.architecture
    variation = proposal.variation
    return {
        "id": architecture.id,
        "evaluation": story.places[architecture.id],
        "author": proposal.author,
        "parents": list(proposal.parents),
        "intent": None if variation is None else variation.intent,
        "by": None if variation is None else variation.by,
        "temperature": None if variation is None else variation.temperature,
        "code": source(architecture),
    }


def _lineage(state: Illumination, trials: dict[str, Trial], story: Story, source: Source) -> list[Json]:
    """Tell the ancestors of the best, oldest first, each as what it changed in its (first) parent."""
    best = state.networks.best
    chain: list[Trial] = []
    key = None if best is None else best.key
    while key in trials and len(chain) < GENERATIONS:
        chain.append(trials[key])
        parents = chain[-1].proposal.parents
        key = parents[0] if parents else None
    steps = []
    before = trials.get(key or "")
    for trial in reversed(chain):
        value = trial.outcome.value if isinstance(trial.outcome, Measured) else None
        step = {**_told(trial, story, source), "value": value}
        step["diff"] = None if before is None else _diff(before, trial, source)
        steps.append(step)
        before = trial
    return steps


def _diff(before: Trial, after: Trial, source: Source) -> str:
    """Compare two networks as code; where that is the same (what differs is dead), as the space writes them."""
    old, new = before.proposal.architecture, after.proposal.architecture
    for write in (source, lambda architecture: architecture.text):
        first, second = write(old).splitlines(), write(new).splitlines()
        if first != second:
            return "\n".join(difflib.unified_diff(first, second, old.id, new.id, n=2, lineterm=""))
    return ""


def _operators(tried: Sequence[Trial | Miss], state: Illumination, story: Story) -> list[Json]:
    """Count by intent and by who carried it out; `improved` is better than every parent."""
    values = {one.architecture.id: story.task.score(one.value) for one in story.archive.measured}
    rows: dict[tuple[str, str], Json] = {}
    for one in tried:
        variation = one.variation if isinstance(one, Miss) else one.proposal.variation
        if variation is None:
            continue
        parents = one.parents if isinstance(one, Miss) else one.proposal.parents
        kind = "crossover" if len(parents) > 1 else "mutation"
        row = rows.setdefault((variation.intent, variation.by), {"operator": kind, **dict.fromkeys(COUNTED, 0)})
        row["tried"] += 1
        if isinstance(one, Miss):
            row["known"] += one.known
            row["made"] += one.known
            continue
        identity = one.outcome.architecture.id
        row["made"] += 1
        row["measured"] += 1
        row["trainable"] += isinstance(one.outcome, Measured)
        row["entered"] += identity in state.entered
        best = max((values[parent] for parent in parents if parent in values), default=None)
        row["improved"] += identity in values and best is not None and values[identity] > best
    found = [{"intent": intent, "by": by, **row} for (intent, by), row in rows.items()]
    return sorted(found, key=lambda row: (-row["improved"], -row["tried"], row["intent"], row["by"]))


def _kinds(operators: Sequence[Json]) -> list[Json]:
    """Sum the counts of all intents of a kind of operator and of who carried it out, sorted."""
    rows: dict[tuple[str, str], Json] = {}
    for one in operators:
        row = rows.setdefault((one["operator"], one["by"]), dict.fromkeys(COUNTED, 0))
        for name in COUNTED:
            row[name] += one[name]
    return [{"operator": kind, "by": by, **row} for (kind, by), row in sorted(rows.items())]


def _failures(tried: Sequence[Trial | Miss]) -> list[Json]:
    """Count why wishes led to no program that can be trained, and why trainings failed, the most frequent first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for one in tried:
        if isinstance(one, Miss) and not one.known:
            counts["not made", one.variation.by, one.why] += 1
        elif isinstance(one, Trial) and isinstance(one.outcome, Failed):
            variation = one.proposal.variation
            counts["not trained", one.proposal.author if variation is None else variation.by, one.outcome.reason] += 1
    return [{"failed": what, "by": by, "count": count, "why": why} for (what, by, why), count in counts.most_common()]


def _prompts(state: Illumination) -> list[Json]:
    """List the prompts of the archive, the most curious first."""
    found = [
        {
            "intent": elite.key,
            "temperature": elite.measures[1],
            "curiosity": state.curiosity[niche],
            "wins": elite.score,
        }
        for niche, elite in state.prompts.elites.items()
    ]
    return sorted(found, key=lambda prompt: (-prompt["curiosity"], prompt["intent"], prompt["temperature"]))
