"""How many of a language model's programs are networks that can be trained, with and without repair, by intent.

python benchmarks/operators_llm.py hf:Qwen/Qwen2.5-Coder-7B-Instruct --questions 160
python benchmarks/operators_llm.py http://127.0.0.1:8000/v1#qwen2.5-coder --edits blocks --temperature 0.6

Each question takes the next of the sixteen intents and parents of a population that begins with one convolution and
grows by what is valid. A program counts as trainable where the space `pytorch` takes it: it is built, run, traced and
trained by one step in the sandbox, gradients reach its weights, it keeps the limits of the task's images. It has to be
new as well.
The space's own operators answer the same questions as the control. Calls of remote models cost money: --max-calls.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random

from nas_agent.agents.chat import CappedModel, ChatModel, Purse
from nas_agent.agents.models import resolve
from nas_agent.agents.operators import Edits, LanguageModelOperators, Offspring, Parent, Request, Rules, Tally, tally
from nas_agent.config import Config
from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture, Json, Task
from nas_agent.spaces.code import INTENTS, Intent
from nas_agent.spaces.inspection import NetworkShape
from nas_agent.spaces.pytorch import Pytorch
from nas_agent.tools.inspection import SandboxInspector

DIGITS = Task("digits", "Grey images of handwritten digits, 8 x 8 pixels, ten classes.")
POPULATION = 12  # the latest valid networks, of which parents are drawn


@dataclass
class Report:
    """What came of one model."""

    model: str
    edits: str
    by_intent: dict[str, Tally]
    control: dict[str, list[int]]  # intent -> asked and valid, of the space's own operators
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    seconds: float
    silent: str  # why the model stopped answering, "" where it did not
    reasons: list[str]  # why the last answers could not be used

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return asdict(self)


def measure(
    model: ChatModel, space: Pytorch, questions: int, *, edits: Edits = "auto", temperature: float = 0.6, seed: int = 0
) -> Report:
    """Ask the questions, until they are answered or the model gives no answer."""
    asking = LanguageModelOperators(model, DIGITS, Rules.of(space.shape), space.parse, edits=edits)
    rng, population, known = Random(seed), [space.start()], {space.start().id}
    found: list[Offspring] = []
    control = {intent.name: [0, 0] for intent in INTENTS}
    lately: list[Json] = []
    start = time.perf_counter()
    for number in range(questions):
        intent = INTENTS[number % len(INTENTS)]
        if len(population) < intent.parents:
            population.append(space.mutate(population[0], rng))
        parents = rng.sample(population[-POPULATION:], intent.parents)
        control[intent.name][0] += 1
        control[intent.name][1] += _carried_out(space, intent, parents, Random(f"{seed}/{number}"))
        given = [Parent(parent, space.format(parent)) for parent in parents]
        offspring = asking.vary(Request(intent, given, temperature, number, lately, frozenset(known)))
        found.append(offspring)
        if offspring.silent:
            break
        if offspring.child is None:
            lately.append({"intent": intent.name, "why": offspring.why})
        else:
            known.add(offspring.child.id)
            population.append(offspring.child)
    calls = [call for offspring in found for call in offspring.calls]
    costs = [call.cost_usd for call in calls]
    return Report(
        model.name,
        asking.edits,
        tally(offspring.to_dict() for offspring in found),
        {name: counts for name, counts in control.items() if counts[0]},
        len(calls),
        sum(call.input_tokens for call in calls),
        sum(call.output_tokens for call in calls),
        None if None in costs else sum(cost for cost in costs if cost is not None),
        time.perf_counter() - start,
        found[-1].silent if found else "",
        [str(told["why"]) for told in lately[-5:]],
    )


def _carried_out(space: Pytorch, intent: Intent, parents: Sequence[Architecture], rng: Random) -> bool:
    try:
        return space.vary(intent.name, parents, rng).id not in {parent.id for parent in parents}
    except InvalidArchitecture:
        return False


def table(report: Report) -> str:
    """Write the shares as Markdown."""
    lines = [
        f"Model `{report.model}`, edits {report.edits}: {report.calls} calls, {report.input_tokens:,} tokens in, "
        f"{report.output_tokens:,} out, {report.seconds:.0f} s"
        + ("" if report.cost_usd is None else f", {report.cost_usd:.4f} USD"),
        "",
        "| intent | asked | a class came back | trainable | trainable after repair | control: the space's operators |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    every = [sum(counts[place] for counts in report.control.values()) for place in (0, 1)]
    for name, counts in report.by_intent.items():
        asked, valid = every if name == "all" else report.control[name]
        shares = (counts.came_back, counts.valid, counts.valid_after_repair)
        cells = [f"{100 * share / counts.asked:.1f} %" if counts.asked else "-" for share in shares]
        lines.append(f"| {name} | {counts.asked} | {' | '.join(cells)} | {100 * valid / asked:.1f} % of {asked} |")
    lines += ["", *(f"not used: {reason}" for reason in report.reasons)]
    return "\n".join([*lines, *([f"stopped: {report.silent}"] if report.silent else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="as --llm names it, e.g. hf:REPO, http://HOST/v1#MODEL, openai:MODEL")
    parser.add_argument("--questions", type=int, default=160, help="ten for each intent by default")
    parser.add_argument("--edits", choices=("auto", "whole", "blocks"), default="auto")
    parser.add_argument("--temperature", type=float, default=0.6, help="LLMatic begins with 0.6")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-calls", type=int)
    parser.add_argument("--max-tokens", type=int, default=2048, help="hf: tokens of a reply at most")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model = resolve(given.model, Config(seed=given.seed, hf_max_tokens=given.max_tokens))
    if model is None:
        parser.error("name a model; the space's own operators are measured beside it")
    model.prepare()
    space = Pytorch(NetworkShape.of(10, 1, 8), SandboxInspector())
    capped = CappedModel(model, Purse(given.max_calls))
    report = measure(capped, space, given.questions, edits=given.edits, temperature=given.temperature, seed=given.seed)
    print(json.dumps(report.to_dict(), indent=1) if given.json else table(report))


if __name__ == "__main__":
    main()
