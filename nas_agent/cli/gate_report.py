"""How reports speak of a surrogate: whether its predictions came true, and what it read code by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from nas_agent.cli.wording import plural

if TYPE_CHECKING:
    from nas_agent.tools.surrogates.gate import Gate

Json = dict[str, Any]
FEWEST = 5  # predictions with outcomes: of fewer the interval is too wide to tell anything


def came_true(standing: Json) -> str:
    """Say how far predictions came true."""
    return (
        f"{standing['share']:.0%} of the differences that it predicted came true over its last "
        f"{plural(standing['pairs'], 'prediction')} (90 % interval {standing['low']:.0%} to {standing['high']:.0%}; "
        f"rank correlation {standing['correlation']:+.2f})"
    )


def changed(event: Json) -> str:
    """Say that the surrogate stepped back or came back, and why."""
    after, why = plural(event["evaluations"], "evaluation"), came_true(event["standing"])
    if event["action"] == "came back":
        return f"the surrogate came back after {after} and chooses again: {why}"
    return f"the surrogate stepped back after {after}, the generator's order decides: {why}"


def embedder_told(event: Json) -> str:
    """Say that an embedder failed, or that it does not read texts to their end."""
    if event["type"] == "truncated":
        return (
            f"texts are too long for {event['embedder']}, which did not read {event['texts']:,} to their end so far; "
            "what comes there counts by structure alone"
        )
    after = plural(event["evaluations"], "evaluation")
    return f"the embedder failed after {after}, the surrogate goes on with structure alone: {event['why']}"


def gate_text(gate: Gate, embedding: Sequence[Json] = ()) -> Text:
    """Say whether the surrogate was right, what went wrong with it, and what became of proposals that it rejected.

    `embedding` are events about what it read code by.
    """
    lines = [*map(embedder_told, embedding), *map(changed, gate.changes)]
    standing = gate.standing()
    if standing is not None:
        few = f"{plural(standing.pairs, 'prediction')} so far, too few to tell whether they come true"
        said = few if standing.pairs < FEWEST else came_true(standing.to_dict())
        lines.append(said + ("; it stands back" if gate.away else ""))
    rejected = gate.rejections()
    if rejected.measured and rejected.high is not None:
        best = f", {rejected.best} better than all of them" if rejected.best else ""
        lines.append(
            f"{plural(rejected.measured, 'rejected proposal')} measured all the same: {rejected.false} better than the "
            f"median of the chosen{best}; at most {rejected.high:.0%} of the rejected ones are (95 %)"
        )
    return Text("\n".join(lines), style="yellow" if gate.away else "")


def chosen_how(choice: str | None, expected: Json | None) -> str:
    """Say why a proposal was measured where the surrogate did not choose it; "" where it did, or there is none."""
    if choice == "order":
        return "the surrogate stood back: it was next in the generator's order"
    if choice == "promoted":
        return "promoted: it was among the best at a lower fidelity"
    if choice != "rejected":
        return ""
    told = expected or {}
    where = f", which ranked it {told['place']:,} of {told['of']:,}" if "place" in told else ""
    return f"against the surrogate{where}: drawn from what it rejected, so that false rejections show"
