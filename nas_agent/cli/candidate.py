"""The story of one architecture: who proposed it, why it was measured, and what came of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from nas_agent.cli.curve_report import curve_lines
from nas_agent.cli.fidelity_report import other_outcomes
from nas_agent.cli.gate_report import chosen_how
from nas_agent.cli.heritage_report import inherited_words
from nas_agent.cli.layout import Rows, effect, heading, picture, sections
from nas_agent.cli.transfer_report import taken_from, taken_words
from nas_agent.cli.wording import duration, number, plural, signed
from nas_agent.records import Failed, Outcome

if TYPE_CHECKING:
    from nas_agent.cli.story import Story
    from nas_agent.spaces.base import Space

Json = dict[str, Any]


def as_document(story: Story, outcome: Outcome, space: Space | None) -> Json:
    """Build the JSON of `show RUN CANDIDATE`."""
    architecture = outcome.architecture
    place, peers = story.evaluation(outcome), story.peers(outcome)
    event = story.proposal(architecture.id) or {}
    proposal = event.get("proposal", {})
    before = [o for o in peers if story.evaluation(o) < place]
    ended = None if isinstance(outcome, Failed) or outcome.stopped else outcome
    score = None if ended is None else story.task.score(ended.value)
    best_before = max(before, key=lambda o: story.task.score(o.value), default=None)
    ranked = [o.architecture.id for o in sorted(peers, key=lambda o: -story.task.score(o.value))]
    return {
        "run": str(story.folder.path),
        "id": architecture.id,
        "arch": architecture.text,
        "evaluation": place,
        "author": proposal.get("author"),
        "taken_from": taken_from(story, proposal.get("author"), architecture.id),
        "parents": [_parent(story, parent) for parent in proposal.get("parents", [])],
        "outside": proposal.get("outside"),
        "principles": [{"reference": ref, "text": story.version(ref).text} for ref in proposal.get("principles", [])],
        "choice": event.get("choice"),
        "surrogate": event.get("surrogate"),
        "expected": event.get("expected"),
        **({"bar": event["bar"]} if "bar" in event else {}),
        "outcome": {key: value for key, value in outcome.to_dict().items() if key != "architecture"},
        "better_than_before": None if score is None else sum(story.task.score(o.value) < score for o in before),
        "measured_before": len(before),
        "best_before": None if best_before is None else best_before.value,
        "improved": score is not None and (best_before is None or score > story.task.score(best_before.value)),
        "rank": ranked.index(architecture.id) + 1 if architecture.id in ranked else None,
        "measured": len(ranked),
        "source": None if space is None else space.source(architecture),
    }


def tell(story: Story, outcome: Outcome, space: Space | None, console: Console) -> list[RenderableType]:
    """Return what a terminal shows of it."""
    data = as_document(story, outcome, space)
    parts: list[RenderableType] = [
        heading(f"{data['id']}, evaluation {data['evaluation']} of {story.task.name}"),
        "",
        picture(space, outcome.architecture, console),
        "",
        *([] if "\n" in data["arch"] else [data["arch"], ""]),
    ]
    rows: Rows = [("proposed", Text(_proposed(data, story)))]
    rows.append(("principles", Text(_principles(data, story))))
    if data["expected"] and data["expected"].get("mean") is not None:
        rows.append(("expected", Text(_expected(data))))
    rows.append(("came", Text(_came(data, story, outcome))))
    elsewhere = other_outcomes(story, outcome)
    if elsewhere:
        rows.append(("besides", Text(elsewhere)))
    if words := inherited_words(outcome):
        rows.append(("inherited", Text(words)))
    parts.append(sections(rows))
    if data["source"] not in (None, data["arch"]):
        source = Syntax(data["source"], "python", theme="ansi_dark", background_color="default", word_wrap=True)
        parts += ["", heading("As the surrogate and the language model read it"), Padding(source, (0, 2))]
    return parts


def _parent(story: Story, identity: str) -> Json:
    outcome = story.archive.get(identity)
    value = None if outcome is None or isinstance(outcome, Failed) else outcome.value
    text = None if outcome is None else outcome.architecture.text
    return {"id": identity, "arch": text, "value": value, "evaluation": story.places.get(identity)}


def _proposed(data: Json, story: Story) -> str:
    lines = [f"by {data['author']}" if data["author"] else "by a process whose log was lost"]
    if data["taken_from"] is not None:
        lines = [taken_words(data["taken_from"])]
    if data["outside"]:
        lines[0] += ", in the outside share: it breaks a principle on purpose, so that a wrong one shows"
    how = chosen_how(data["choice"], data["expected"])
    lines += [how] if how else []
    for parent in data["parents"]:
        place = "" if parent["evaluation"] is None else f", evaluation {parent['evaluation']}"
        lines.append(f"from {parent['id']} ({number(parent['value'], story.task.unit)}{place})")
    return "\n".join(lines)


def _principles(data: Json, story: Story) -> str:
    if not data["principles"]:
        return "obeyed none (none was active, or it obeys none of those that were)"
    return "\n".join(
        f"{item['reference']} {item['text']}\n   {effect(story.version(item['reference']).evidence, story.task.unit)}"
        for item in data["principles"]
    )


def _expected(data: Json) -> str:
    """Say what the surrogate thought; its scale is that of normal scores, so it can be read as a share."""
    expected = data["expected"]
    share = 0.5 * (1.0 + math.erf(expected["mean"] / math.sqrt(2.0)))
    spread = "" if expected.get("deviation") is None else f" ± {expected['deviation']:.2f}"
    gain = "" if expected.get("gain") is None else f"; acquisition value {expected['gain']:.3g}"
    return (
        f"{data['surrogate']}: {expected['mean']:+.2f}{spread} standard deviations, "
        f"that is, better than about {share:.0%} of what was known{gain}"
    )


def _came(data: Json, story: Story, outcome: Outcome) -> str:
    spent = duration(outcome.seconds)
    if isinstance(outcome, Failed):
        return f"failed: {outcome.reason} ({spent})" + _confined(outcome)
    kind = " simulated" if outcome.simulated else ""
    unit = story.task.unit
    lines = [f"{number(outcome.value, unit)}, {outcome.provenance}, {outcome.fidelity}, {spent}{kind}"]
    if outcome.repeats:
        values = " and ".join(number(value, unit) for value in outcome.repeats)
        lines.append(f"measured again before it could be the best: {values}, under two seeds; the lower counts")
        if outcome.inherited is not None and outcome.inherited.taken:
            lines[-1] += " (the second time from scratch)"
    lines[-1] += _confined(outcome)
    lines += curve_lines(outcome, data.get("bar"), unit)
    if outcome.stopped:
        return "\n".join(lines)
    if data["measured_before"]:
        share = data["better_than_before"] / data["measured_before"]
        against = f"better than {share:.0%} of the {plural(data['measured_before'], 'architecture')} measured before it"
        gain = signed(outcome.value - data["best_before"], unit)
        lines.append(f"{against}; {gain} against the best until then" + (": a new best" if data["improved"] else ""))
    alike = "" if outcome.at is None or story.archive.rungs is None else f" at {outcome.at}"
    lines.append(f"rank {data['rank']} of {data['measured']} measured in this run{alike}")
    best = story.best is not None and story.best is outcome
    if best and story.test is not None and story.test["value"] is not None:
        lines.append(f"test {number(story.test['value'], unit)}, {story.test['provenance']}: it is the winner")
    return "\n".join(lines)


def _confined(outcome: Outcome) -> str:
    return "" if outcome.sandbox is None else f"\nits code ran in the sandbox {outcome.sandbox}"
