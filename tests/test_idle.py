"""A setting that nothing would read is refused in one line, by `run`, by its dry run, and from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas_agent.bench.agent import Agent, agent_settings
from nas_agent.bench.methods import Problem
from nas_agent.cli.main import app
from nas_agent.config import Config, make_config
from nas_agent.errors import ConfigError
from nas_agent.idle import RULES, refuse_idle, said
from nas_agent.run import Search
from nas_agent.spaces import load_space
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.evaluators.train_settings import TrainSettings
from tests.programs import ToyPrograms
from tests.searching import TASK, Diary, Toy, evaluation

LLM = "openai:m"

# What is said, and what it is refused for; then what makes it of use.
CASES = [
    ("--edits blocks", "--edits blocks: expected --generator code", ""),
    ("--edits blocks --generator code", "--edits blocks: expected a language model", f"--llm {LLM} --space pytorch"),
    ("--set niches=50", "niches = 50: expected --generator code beside it, got evolve", "--generator code"),
    ("--set islands=3", "islands = 3: expected --generator code", "--generator code"),
    ("--set archive=grid", "archive = grid: expected --generator code", "--generator code"),
    ("--set archive_file=a.json", "archive_file = a.json: expected --generator code", None),
    ("--set curiosity=false", "curiosity = false: expected --generator code", "--generator code"),
    ("--generator code --set migration=2", "migration = 2: expected islands = 2 or more", "--set islands=2"),
    ("--max-calls 5", "--max-calls 5: expected a language model", f"--llm {LLM}"),
    ("--max-cost 5", "--max-cost 5.0: expected a language model", f"--llm {LLM}"),
    ("--set temperature=0.5", "temperature = 0.5: expected a language model", f"--llm {LLM}"),
    (f"--llm {LLM} --set hf_max_tokens=9", "hf_max_tokens = 9: expected a model in this process", None),
    (f"--llm {LLM} --no-principles", f"--llm {LLM}: nobody would ask it", "--generator llm"),
    (f"--llm {LLM} --objectives accuracy,params", f"--llm {LLM}: nobody would ask it", "--set principles=true"),
    (f"--llm.learner {LLM} --no-principles", f"--llm.learner {LLM}: this search has no principles", None),
    ("--review --no-principles", "--review: this search has no principles", None),
    ("--set adapt_every=3 --no-principles", "adapt_every = 3: this search has no principles", None),
    ("--set outside_share=0.5 --no-principles", "outside_share = 0.5: this search has no principles", None),
    ("--set rejected_share=0.5 --surrogate none", "rejected_share = 0.5: a surrogate of one objective", None),
    ("--set rejected_share=0.5 --objectives accuracy,params", "rejected_share = 0.5: a surrogate of one", None),
    ("--set eta=4", "eta = 4: expected --fidelities", None),
    ("--from cifar10 --recall all", "--recall all: --from names what is read instead of memory", None),
    ("--no-memory --set source_rows=9", "source_rows = 9: expected something to transfer from", "--from cifar10"),
    ("--ray-address auto", "--ray-address auto: expected --executor ray", None),
    ("--workers 2 --executor inline", "--workers 2: --executor inline is one worker", None),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "why", "mended"), CASES, ids=[case[0] for case in CASES])
def test_what_would_do_nothing_is_one_line_and_exit_code_2(
    tmp_path: Path, flags: str, why: str, mended: str | None
) -> None:
    common = ["run", "--evaluator", "embedded", "--out", str(tmp_path / "runs")]
    for mode in ([], ["--dry-run"]):
        done = CliRunner().invoke(app, [*common, *mode, *flags.split()])
        assert (done.exit_code, done.stdout) == (2, "")
        assert why in " ".join(done.stderr.split())
        assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
    if mended:
        after = CliRunner().invoke(app, [*common, "--dry-run", *flags.split(), *mended.split()])
        assert why not in " ".join(after.stderr.split())


def test_every_rule_is_broken_by_a_case() -> None:
    named = {name for rule in RULES for name in rule.settings}
    broken = {
        why.partition(":")[0].split(" ")[0].lstrip("-").replace("-", "_").replace(".", "_") for _, why, _ in CASES
    }
    assert named - broken == {"hf_dtype", "hf_device", "hf_quantise", "hf_revision"}  # of one rule with hf_max_tokens
    assert all(name in Config.model_fields for name in named)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"surrogate": "none", "gate": False, "rejected_share": 0.0},
        {"principles": False, "outside_share": 0.0, "llm_learner": "none"},
        {"max_calls": 0},
        {"offline": True},
        {"source": ("cifar10",), "recall": "none"},
        {"llm": LLM, "llm_learner": "openai:n"},
        {"llm": "replay:last", "hf_max_tokens": 7},
        {"generator": "code", "llm": LLM, "edits": "blocks", "islands": 2, "migration": 1},
    ],
)
def test_what_is_off_or_of_use_is_let_through(settings: dict[str, object]) -> None:
    refuse_idle(make_config(settings))


def test_settings_of_a_search_from_python_are_held_against_the_callers_model() -> None:
    def made(**settings: object) -> Search:
        return Search(TASK, space=Toy(), evaluation=evaluation(), **settings)

    class Model:
        name = "mine"
        calls = 0

    with pytest.raises(ConfigError, match="niches = 7: expected --generator code"):
        made(niches=7)
    with pytest.raises(ConfigError, match="--max-calls 3: expected a language model"):
        made(max_calls=3)
    made(max_calls=3, model=Model())
    with pytest.raises(ConfigError, match="model: nobody would ask it"):
        made(principles=False, model=Model())
    with pytest.raises(ConfigError, match="--edits blocks: expected a language model"):
        Search(TASK, space=ToyPrograms(), evaluation=evaluation(), generator="code", edits="blocks")


@pytest.mark.parametrize("name", ["niches", "max_calls", "curiosity", "recall"])
def test_a_default_is_never_said(name: str) -> None:
    assert not said(Config(), name)


def test_a_comparison_gives_settings_to_the_variants_that_read_them() -> None:
    shared = tuple(agent_settings(["adapt_every=3", "rejected_share=0.5", "initial=2"]).items())
    problem = Problem(Toy(), TASK, Diary(), None)
    for own, budget in (((), 6), ((("principles", False),), 6), ((("surrogate", "none"),), 6)):
        trace = Agent((*own, *shared)).run(problem, 0, budget)
        assert len(trace.values) == budget
    with pytest.raises(ConfigError, match="niches = 5: expected --generator code"):
        agent_settings(["niches=5"])


def test_caps_of_a_comparison_of_transfers_need_a_model() -> None:
    done = CliRunner().invoke(app, ["bench", "lapt", "--max-calls", "3"])
    assert done.exit_code == 2
    assert "--max-calls 3: expected a language model" in done.stderr


# -- settings of a training where nothing is trained, or where nothing reads them ---------------------------------


def test_a_table_of_ones_own_is_not_trained(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    settings = TrainSettings(width=8, device="cpu", share=0.5, seconds=3.0)
    with pytest.raises(ConfigError, match=r"--width, data_share, --device, train_seconds: .*own has no images"):
        load_evaluation(f"table:{table}", load_space("nb201"), "auto", data=None, epochs=None, training=settings)


def test_a_width_says_nothing_about_networks_whose_text_says_it() -> None:
    space = load_space("pytorch")
    with pytest.raises(ConfigError, match=r"--width 8: in space 'pytorch' a network's own text says how wide it is"):
        load_evaluation("digits", space, "auto", data=None, epochs=None, training=TrainSettings(width=8))
    for rung in ("epochs=1 width=8", "epochs=1 resolution=4"):
        with pytest.raises(ConfigError, match=r"--fidelities: in space 'pytorch' .* leave width and resolution out"):
            load_evaluation("digits", space, "auto", data=None, epochs=3, fidelities=(rung, "3"))
    assert load_evaluation("digits", space, "auto", data=None, epochs=3, fidelities=("1", "3")).rungs is not None
