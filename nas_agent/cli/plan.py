"""What `run --dry-run` prints: what would be done, without doing or writing any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from nas_agent.cli.curve_report import announced as curves_told
from nas_agent.cli.fidelity_report import announced as fidelities_told
from nas_agent.cli.layout import Rows, heading, sections
from nas_agent.cli.objectives_report import limits_told
from nas_agent.cli.transfer_report import announced
from nas_agent.cli.wording import plural

if TYPE_CHECKING:
    from nas_agent.agents.chat import ChatModel, Prices
    from nas_agent.config import Config
    from nas_agent.records import Task
    from nas_agent.spaces import Space

Json = dict[str, Any]
LETTERS = 4  # characters of a prompt in a token, roughly, for English and code
RECALL = {
    "others": "from memory: what was found on the nearest other tasks",
    "all": "from memory: what was found on the nearest tasks, this one included",
    "none": "nothing",
}
INHERITS = {
    "none": "",
    "names": "; children inherit trained weights where name and shape agree",
    "order": "; children inherit trained weights where name and shape agree, then by order and shape",
}
REPLY = 800  # tokens of a reply, roughly


def make(config: Config) -> Json:
    """Load what the run would use and say what it would do; NasAgentError where it could not even begin."""
    from nas_agent import roles
    from nas_agent.idle import refuse_idle
    from nas_agent.preparation import check_generator, evaluation_of
    from nas_agent.spaces import load_space
    from nas_agent.tools.benchmarks.registry import named_space
    from nas_agent.tools.costs.wishes import make_wishes
    from nas_agent.tools.curves import check_curves
    from nas_agent.tools.executors import check_executor
    from nas_agent.tools.inspection import equipped
    from nas_agent.tools.recollection import check_source
    from nas_agent.tools.source_story import read_of
    from nas_agent.tools.sources import MEMORY
    from nas_agent.tools.surrogates import make_surrogate
    from nas_agent.tools.surrogates.code import check_embedder, code_embedder

    check_embedder(config)
    check_executor(config)
    refuse_idle(config)
    config = config.model_copy(update={"space": named_space(config.space, config.task)})
    space = load_space(config.space)
    roles.check_space(config, space)
    check_generator(config, space)
    found = evaluation_of(config, space)
    space = equipped(space, found, sandbox=config.confinement)
    config = roles.settled(config)
    read = [item for item in check_source(config, found.task, space) if item["kind"] == "source"]
    imported = None
    if config.principles_file is not None:
        from nas_agent.tools.principle_files import read_for

        imported = len(read_for(config.principles_file, space).shared)
    listed = found.evaluator.pool()
    pool = space.enumerate() if listed is None else listed
    check_curves(config, found.evaluator)
    wishes = make_wishes(config, space, found)
    kept = pool if wishes is None else wishes.admitted(pool, space, config.seed)
    wished = {} if wishes is None else wishes.about(
        None if pool is None or kept is None else (len(pool), len(kept)), wishes.most(kept)
    )  # fmt: skip
    pool = kept
    embedder = code_embedder(config, space)
    surrogate = make_surrogate(config.surrogate, space, pool, seed=config.seed, embedder=embedder)
    candidates = None if pool is None else len(pool)
    return {
        "task": found.task.name,
        "space": space.name,
        "evaluator": found.evaluator.name,
        "provenance": found.evaluator.provenance,
        "fidelity": found.evaluator.fidelity,
        "note": found.note,
        "budget": config.budget,
        "evaluations": config.budget if candidates is None else min(config.budget, candidates),
        "initial": min(config.initial, config.budget),
        "candidates": candidates,
        "executor": {"kind": config.executor_kind, "workers": config.workers or 1, "ahead": config.most_under_way},
        "limits": list(config.limits),
        "objectives": list(config.objectives),
        "stop_curves": config.stop_curves,
        "fidelities": [] if found.rungs is None else found.rungs.to_list(),
        **wished,
        "generator": config.generator,
        "inherit": config.inherit,
        "surrogate": None if surrogate is None else surrogate.name,
        "embedder": None if embedder is None else embedder.name,
        "principles": config.principles,
        "imported": imported,
        "review": config.review,
        "recall": ", ".join(config.source) or config.recall,
        "memory": None if config.source and MEMORY not in config.source else config.recall,
        "memory_problem": _memory_problem() if MEMORY in config.source else "",
        "sources": [read_of(item, space.name, found.evaluator.provenance) for item in read],
        "llm": _models_plan(config, space, found.task),
        "out": str(config.out),
        "writes": "nothing: this is a dry run",
    }


def tell(planned: Json) -> list[RenderableType]:
    """Lay the plan out for a terminal."""
    llm = planned["llm"]
    candidates = "too many to list" if planned["candidates"] is None else f"{planned['candidates']:,}"
    learns = "learned from the outcomes, and tested" if planned["principles"] else "none"
    if planned["imported"] is not None:
        learns = f"{planned['imported']} from the file to begin with; others {learns}"
    if planned["review"]:
        learns += "; a person is asked before any takes effect"
    rows: Rows = [
        (
            "evaluator",
            Text(f"{planned['evaluator']} ({planned['provenance']}, {planned['fidelity']})\n{planned['note']}"),
        ),
        (
            "evaluations",
            Text(f"{_worth(planned)}, {_first(planned)} before the surrogate is asked"),
        ),
        ("executor", Text(_executor_words(planned["executor"]))),
        ("candidates", Text("\n".join([candidates, *limits_told(planned)]))),
        *[("fidelities", Text(line)) for line in fidelities_told(planned)],
        *[("stopping", Text(line)) for line in curves_told(planned)],
        ("generator", Text(planned["generator"] + INHERITS[planned["inherit"]])),
        ("surrogate", Text(_surrogate_words(planned))),
        ("principles", Text(learns)),
        ("recall", Text(_recall_words(planned))),
        ("model", Text("none" if llm is None else _model_words(llm))),
        ("run folder", Text(f"would be made in {planned['out']}; this dry run writes nothing")),
    ]
    parts: list[RenderableType] = [
        heading(f"Plan: {planned['task']} on {planned['space']}"),
        "",
        sections(rows),
    ]
    if llm is not None:
        parts += ["", heading("The first prompt, with no outcomes to show yet")]
        parts += [Padding(Text(llm["first_prompt"], overflow="fold"), (0, 2))]
    return parts


def _executor_words(executor: Json) -> str:
    """Say who evaluates, and how many are under way at once."""
    if executor["kind"] == "inline":
        who = "this process"
    else:
        where = "on this machine" if executor["kind"] == "pool" else "of a Ray cluster"
        number = executor["workers"]
        who = f"workers {where}, as many as are fastest" if number == "auto" else f"{plural(number, 'worker')} {where}"
    return f"{who}; {plural(executor['ahead'], 'evaluation')} under way at once"


def _surrogate_words(planned: Json) -> str:
    if planned["surrogate"] is None:
        return "none: proposals are drawn by chance"
    read = "" if planned["embedder"] is None else f", code read by {planned['embedder']}"
    return f"{planned['surrogate']}{read}"


def _worth(planned: Json) -> str:
    return (
        f"worth {plural(planned['budget'], 'full training')}" if planned["fidelities"] else str(planned["evaluations"])
    )


def _first(planned: Json) -> str:
    used = [source for source in planned["sources"] if not source["refused"] and not source["unused"]]
    return "the best few of the sources" if used else f"the first {planned['initial']}"


def _recall_words(planned: Json) -> str:
    """Say what would be read of each source, and whether memory would be asked."""
    lines = [announced(source) for source in planned["sources"]]
    if planned["memory_problem"]:
        lines.append(f"nothing from memory: {planned['memory_problem']}")
    elif planned["memory"] is not None:
        lines.append(RECALL[planned["memory"]])
    return "\n".join(lines)


def _memory_problem() -> str:
    """Say why memory, asked for by name, has nothing to give; "" where it holds a run."""
    from nas_agent.errors import MemoryStoreError, StorageError
    from nas_agent.tools.recollection import open_memory

    try:
        return "" if open_memory().stats().runs else "it is empty, no run has finished yet"
    except (MemoryStoreError, StorageError) as error:
        return str(error)


def _models_plan(config: Config, space: Space, task: Task) -> Json | None:
    """Say what each role would ask: the totals, and under `roles` each one's part."""
    from nas_agent import roles

    # Building the models tells of a missing key, package or folder; nothing is sent and no weights are loaded.
    prices, models = roles.prices(config), roles.models(config)
    if not prices:
        return None
    from nas_agent.agents.briefing import LearnContext
    from nas_agent.agents.disguise import Disguise, Lens
    from nas_agent.agents.generators.language_model import REPAIRS, LanguageModelGenerator, ProposeContext
    from nas_agent.agents.learner import LanguageModelLearner
    from nas_agent.graphs.consult import PAUSE

    lens = Disguise(space, config.seed) if config.anonymise else Lens(space)
    known = LearnContext(task=task, stage="improved")
    planned: dict[str, Json] = {}
    if models.learner is not None:
        learner = LanguageModelLearner(models.learner, space, lens=lens)
        calls, prompt = (config.budget - 1) // config.adapt_every, learner.question(known).text
        about = {"model": models.learner.name, "repairs": learner.repairs, "first_prompt": prompt}
        planned["learner"] = {**about, **_expected(prices["learner"], calls, prompt, _shown(space), config.max_calls)}
    if models.generator is not None and config.generator == "code":
        planned["generator"] = _operators_plan(config, space, task, models.generator, prices["generator"])
    elif models.generator is not None:
        nothing = ProposeContext(known, lately=(), measured=(), pool=None, refinement=None)
        prompt = LanguageModelGenerator(models.generator, lens).question(nothing).text
        about = {"model": models.generator.name, "repairs": REPAIRS, "first_prompt": prompt}
        calls = (config.budget - 1) // PAUSE
        planned["generator"] = {
            **about,
            **_expected(prices["generator"], calls, prompt, _shown(space), config.max_calls),
        }
    parts = list(planned.values())
    calls = sum(part["calls"] for part in parts)
    calls = calls if config.max_calls is None else min(calls, config.max_calls)  # one purse for all roles
    costs = [part["cost_usd"] for part in parts]
    return {
        "model": ", ".join(dict.fromkeys(part["model"] for part in parts)),
        "calls": calls,
        "max_calls": config.max_calls,
        "max_cost": config.max_cost,
        "most_calls": sum(part["calls"] * (part["repairs"] + 1) for part in parts),
        "tokens": {way: sum(part["tokens"][way] for part in parts) for way in ("input", "output")},
        "cost_usd": None if None in costs else sum(costs),
        "first_prompt": parts[0]["first_prompt"],
        "roles": planned,
    }


def _operators_plan(config: Config, space: Space, task: Task, model: ChatModel, price: Prices | None) -> Json:
    """Say what a model would be asked that carries out the wishes of `--generator code`: one for each evaluation."""
    from nas_agent.agents.generators.quality_diversity import check_space
    from nas_agent.agents.operators import LanguageModelOperators, Parent, Request, Rules
    from nas_agent.spaces.code import INTENTS
    from nas_agent.spaces.inspection import Inspected

    assert isinstance(space, Inspected)
    operators = LanguageModelOperators(model, task, Rules.of(space.shape), space.parse, edits=config.edits)
    start = check_space(space).start()
    prompt = operators.question(Request(INTENTS[0], [Parent(start, space.format(start))])).text
    about = {"model": model.name, "repairs": operators.repairs, "first_prompt": prompt}
    return {**about, **_expected(price, config.budget - config.initial, prompt, 0, config.max_calls)}


def _expected(price: Prices | None, calls: int, prompt: str, shown: int, most: int | None) -> Json:
    """Estimate calls, tokens and dollars of one role; `shown` are the letters that architectures add to the prompt."""
    calls = calls if most is None else min(calls, most)
    tokens = {"input": calls * (len(prompt) + shown) // LETTERS, "output": calls * REPLY}
    cost = None if price is None else (tokens["input"] * price[0] + tokens["output"] * price[1]) / 1e6
    return {"calls": calls, "tokens": tokens, "cost_usd": cost}


def _shown(space: Space) -> int:
    """Estimate the characters that the architectures add to a prompt: ten best and ten worst, as code."""
    from random import Random

    return 20 * len(space.source(space.sample(Random(0))))


def _model_words(llm: Json) -> str:
    cost = "cost not known" if llm["cost_usd"] is None else f"about {llm['cost_usd']:.3f} USD"
    limit = "" if llm["max_calls"] is None else f", at most {llm['max_calls']} (--max-calls)"
    limit += "" if llm["max_cost"] is None else f", none after {llm['max_cost']:g} USD (--max-cost)"
    tokens = llm["tokens"]
    return (
        f"{llm['model']}: about {plural(llm['calls'], 'call')}, up to {llm['most_calls']} if every reply needs repair"
        f"{limit}; about {tokens['input']:,} tokens in and {tokens['output']:,} out, {cost}"
    )
