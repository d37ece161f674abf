"""Search by sequence modelling: what `vq` proposes, what it learns from, and that a resumed run is the same run."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nas_agent.agents.generators import Brief
from nas_agent.agents.generators.arch_llm.bases import small_transformer
from nas_agent.agents.generators.arch_llm.cells import SPACES
from nas_agent.agents.generators.arch_llm.generator import LANGUAGE, ArchLLM, load, shipped
from nas_agent.agents.generators.arch_llm.language import SequenceModel
from nas_agent.agents.generators.arch_llm.prompts import own_prompts
from nas_agent.agents.generators.arch_llm.proposing import FEW, SearchSettings, SequenceGenerator
from nas_agent.agents.generators.arch_llm.sequences import Domains, OwnTokens, VertexTokens
from nas_agent.agents.generators.arch_llm.tuning import by_rank, fine_tuned
from nas_agent.bench.agent import Agent
from nas_agent.bench.arch_llm import ArchLLMSearch
from nas_agent.bench.compare import METHODS, USUAL
from nas_agent.bench.llmatic import LLMATIC
from nas_agent.bench.methods import Problem
from nas_agent.cli.main import app
from nas_agent.config import Config
from nas_agent.errors import ConfigError, DataError
from nas_agent.principles.constraint import Allowed, Constraint, Count
from nas_agent.principles.principle import Principle
from nas_agent.principles.refinement import Refinement
from nas_agent.records import Architecture, Json, Measured, Outcome, Provenance
from nas_agent.run import resume, start
from nas_agent.spaces import load_space
from nas_agent.tools.evaluators import base
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.run_folder import RunFolder, open_folder
from tests.resumed import Killed, killed_at
from tests.searching import TASK

SPACE = load_space("nb201")
TOKENS = OwnTokens("nb201")
QUICK = SearchSettings(every=5, draws=120, steps=4)
# Three edges fixed, so that chance alone finds one draw in 125.
NARROW = [Allowed(f"edge_0_{end}", ("nor_conv_3x3",)) for end in (1, 2, 3)]


def untrained(seed: int = 0) -> ArchLLM:
    """A generator that has learned nothing: uniform but for chance."""
    prompts = own_prompts(TOKENS.codes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = small_transformer(prompts, TOKENS.length, width=16, layers=1, heads=2, dropout=0.1)
    return ArchLLM(TOKENS, SequenceModel(made, prompts, TOKENS.length, {"space": "nb201", "kind": "tokens"}))


BASE = untrained()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as a user would give it."""
    out = tmp_path_factory.mktemp("model")
    BASE.language.save(out / LANGUAGE)
    return out


SHIPPED = [space for space in SPACES if shipped(space).is_dir()]


@lru_cache
def quantised(space: str = "nb201") -> ArchLLM:
    """The model that comes with the package, with a codebook."""
    return load(shipped(space), space)


def under(constraints: list[Constraint]) -> Refinement:
    given = [Principle(f"P{n}", 1, str(c), c, "statistics", "active") for n, c in enumerate(constraints, 1)]
    return Refinement(SPACE.decisions, given)


def told(number: int = 12, refinement: Refinement | None = None, *, outside: bool = False, seed: int = 0) -> Brief:
    """A brief after so many evaluations; convolutions are better."""
    order = Random(seed).sample(list(SPACE.enumerate() or ()), 40)[:number]
    ranked = sorted(((a, float(a.text.count("conv"))) for a in order), key=lambda pair: -pair[1])
    ids = tuple(a.id for a in order)
    return Brief(SPACE, ranked, ids, SPACE.enumerate(), refinement, outside, ids)


def proposed(brief: Brief, seed: int = 0, settings: SearchSettings = QUICK, base: ArchLLM = BASE) -> list[Any]:
    return SequenceGenerator(base, settings, seed=seed).propose(brief, Random(0))


# -- what is proposed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 12])
def test_proposals_are_distinct_unknown_members_of_the_pool(number):
    brief = told(number)
    found = proposed(brief)
    ids = [proposal.architecture.id for proposal in found]
    assert len(found) > 60
    assert len(set(ids)) == len(ids)
    assert not set(ids) & set(brief.order)
    assert {proposal.architecture for proposal in found} <= set(brief.pool or ())


def test_half_of_the_draws_complete_one_of_the_best_and_keep_half_of_its_codes():
    brief = told()
    elites = {a.id: a for a, _ in brief.ranked if a.id in brief.order[:10]}
    found = proposed(brief, settings=SearchSettings(every=5, draws=120, steps=0, elites=4))
    assert {proposal.author for proposal in found} == {"fill", "generate"}
    by_fill = [proposal for proposal in found if proposal.author == "fill"]
    best = [a.id for a, _ in brief.ranked if a.id in elites][:4]
    assert {parent for proposal in by_fill for parent in proposal.parents} <= set(best)
    drawn = TOKENS.encode([proposal.architecture for proposal in by_fill])
    parents = TOKENS.encode([elites[proposal.parents[0]] for proposal in by_fill])
    kept = (drawn == parents).sum(axis=1)
    # Where several choices mean one cell, another spelling of it may come back.
    assert np.mean(kept >= 3) > 0.8
    assert not any(proposal.parents for proposal in found if proposal.author == "generate")


def test_before_anything_is_measured_all_draws_are_unconditional():
    assert {proposal.author for proposal in proposed(told(0))} == {"generate"}


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("constraint", [Count(("nor_conv_3x3",), at_least=2), NARROW[0]], ids=str)
def test_inside_all_obey_and_outside_all_break(constraint, outside):
    refinement = under([constraint])
    found = proposed(told(12, refinement, outside=outside))
    assert len(found) >= FEW
    assert all(refinement.allows(SPACE.choices(p.architecture)) is not outside for p in found)


def test_masks_find_a_part_of_the_space_that_rejection_alone_would_miss():
    refinement = under(NARROW)
    for made in (BASE, quantised()):
        found = proposed(told(12, refinement), base=made)
        written = [proposal for proposal in found if proposal.author in ("fill", "generate")]
        assert len(written) > 30  # of 120 draws; one in 125 would obey
        assert all(refinement.allows(SPACE.choices(p.architecture)) for p in found)


def test_where_the_model_finds_little_uniform_draws_join_until_all_is_measured():
    pool = list(SPACE.enumerate() or ())[:30]
    generator, known = SequenceGenerator(BASE, QUICK, seed=0), dict[str, Architecture]()
    while found := generator.propose(Brief(SPACE, [], known, pool, None, False, tuple(known)), Random(len(known))):
        assert found[0].architecture.id not in known
        known[found[0].architecture.id] = found[0].architecture
    assert set(known.values()) == set(pool)


# -- masks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", ["tokens", "vertices of nb201", "vertices of nb101", *SHIPPED])
def test_a_code_is_shut_out_exactly_where_it_says_what_is_not_allowed(made):
    by_hand = {"tokens": TOKENS} | {f"vertices of {space}": VertexTokens(space) for space in ("nb201", "nb101")}
    sequencer = by_hand.get(made) or quantised(made).sequencer
    found, rng = load_space(sequencer.space), Random(0)
    cells = [found.sample(rng) for _ in range(200)]
    rows = sequencer.encode(cells)
    whole = [one == back for one, back in zip(cells, sequencer.decode(rows), strict=True)]
    cells, rows = [one for one, same in zip(cells, whole, strict=True) if same], rows[whole]
    assert len(cells) > 150
    every: Domains = {decision.name: decision.options for decision in found.decisions}
    assert sequencer.admitted(every)[np.arange(sequencer.length), rows].all()
    for decision in found.decisions:
        some = rng.sample(decision.options, len(decision.options) // 2)
        admitted = sequencer.admitted({**every, decision.name: some})
        inside = admitted[np.arange(sequencer.length), rows].all(axis=1)
        assert inside.tolist() == [found.choices(one)[decision.name] in some for one in cells]


def test_what_is_shut_out_is_never_drawn_not_even_by_the_smallest_chance():
    allowed = np.zeros((6, 5), dtype=bool)
    allowed[:, 2], allowed[0, :] = True, True
    drawn = BASE.language.sample(300, temperature=50.0, seed=0, allowed=allowed)
    assert (drawn[:, 1:] == 2).all()
    assert len(set(drawn[:, 0])) == 5


# -- fine-tuning -----------------------------------------------------------------------------------------


def test_fine_tuning_makes_the_best_likelier_and_leaves_the_model_as_it_was():
    rows = TOKENS.encode([a for a, _ in told(20).ranked])
    before, size = BASE.language.loss(rows), BASE.fingerprint
    made = fine_tuned(BASE.language, rows, steps=30, batch=16, learning_rate=1e-2, seed=0)
    assert made.loss(rows) < before - 0.1
    assert made.loss(rows[:1]) < made.loss(rows[10:]) - 0.1  # shares by rank
    assert BASE.language.loss(rows) == before
    assert BASE.fingerprint == size


def test_shares_by_rank_fall_and_add_up_to_one():
    shares = by_rank(5)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] == pytest.approx(5 * shares[4])
    assert (np.diff(shares) < 0).all()


def test_fine_tuning_gives_the_same_bits_on_any_number_of_threads():
    rows = TOKENS.encode([a for a, _ in told().ranked])
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made = fine_tuned(BASE.language, rows, steps=5, batch=16, learning_rate=1e-2, seed=3)
            assert torch.get_num_threads() == threads
            found.append(ArchLLM(TOKENS, made).fingerprint)
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] != BASE.fingerprint


def test_what_was_found_last_changes_the_draws_once_an_asking_is_due():
    ids = [[p.architecture.id for p in proposed(told(number))] for number in (10, 14, 15)]
    later = set(told(14).order[10:])
    assert ids[1] == [name for name in ids[0] if name not in later]  # the same asking, less what is known by now
    assert ids[2] != [name for name in ids[0] if name not in set(told(15).order[10:])]


def test_the_seed_is_the_only_chance_and_a_new_generator_goes_on_as_the_old_one():
    old = SequenceGenerator(BASE, QUICK, seed=7)
    for number in (3, 8, 12):  # what it was asked before leaves no trace
        old.propose(told(number), Random(0))
    assert old.propose(told(13), Random(0)) == proposed(told(13), 7) != proposed(told(13), 8)


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"draws": 0}, {"steps": -1}, {"fill_share": 1.5}, {"temperature": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="expected"):
        SearchSettings(**wrong)


# -- runs ------------------------------------------------------------------------------------------------


class Convolutions:
    """Counts convolutions, in a part of the space: a run on all of it takes seconds to begin."""

    name, fidelity = "convolutions", "made up"
    provenance: Provenance = "measured"
    members = Random(5).sample(list(SPACE.enumerate() or ()), 1200)

    def pool(self) -> list[Architecture]:
        return self.members

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        value = float(architecture.text.count("conv_3x3"))
        return Measured(architecture, value, self.fidelity, 0.0, seed, self.name)

    def open(self, architecture: Architecture, *, seed: int) -> base.TestResult:
        return base.TestResult(None, "measured", self.fidelity)


COUNTED = base.Evaluation(TASK, Convolutions(), Convolutions(), "made up")


def config(out: Path, model: Path, **settings: Any) -> Config:
    given = {"budget": 12, "adapt_every": 6, "memory": False, "recall": "none", **settings}
    return Config(task=TASK.name, space="nb201", generator="vq", generator_model=model, out=out, **given)


def events_of(path: str | Path | None) -> list[Json]:
    return [deterministic(event) for event in read_events(RunFolder(Path(path or "")).events)[0]]


@pytest.fixture(scope="module")
def unbroken(folder, tmp_path_factory) -> list[Json]:
    return events_of(start(config(tmp_path_factory.mktemp("unbroken"), folder), evaluation=COUNTED).run)


def test_a_run_names_the_model_that_proposes_and_measures_what_it_wrote(unbroken):
    assert unbroken[0]["generator"] == f"vq {BASE.fingerprint}"
    assert {event["generator"] for event in unbroken if event["type"] == "proposed"} == {f"vq {BASE.fingerprint}"}
    authors = [event["proposal"]["author"] for event in unbroken if event["type"] == "proposal"]
    assert authors[0] == "uniform draw"
    assert set(authors[1:]) <= {"fill", "generate"}
    assert "fill" in authors
    assert len(authors) == 12


@pytest.mark.parametrize("evaluations", [3, 8, 9])
def test_a_run_that_was_killed_and_resumed_is_the_same_run(tmp_path, folder, unbroken, evaluations):
    kill = killed_at(evaluations, lambda event: event["type"] == "outcome")
    with pytest.raises(Killed):
        start(config(tmp_path / "runs", folder), [kill], evaluation=COUNTED)
    (path,) = (tmp_path / "runs").iterdir()
    resume(open_folder(path), evaluation=COUNTED)
    assert events_of(path) == unbroken


def test_a_run_is_not_resumed_with_another_model(tmp_path, folder):
    mine = tmp_path / "mine"
    BASE.language.save(mine / LANGUAGE)
    result = start(config(tmp_path / "runs", mine, budget=3), evaluation=COUNTED)
    made = RunFolder(Path(result.run or ""))
    made.best_json.unlink()
    lines = made.events.read_text().splitlines(keepends=True)
    made.events.write_text("".join(lines[:-1]))
    other = tmp_path / "other"
    untrained(1).language.save(other / LANGUAGE)
    settings = made.path / "config.toml"
    settings.write_text(settings.read_text().replace(str(mine), str(other)))
    with pytest.raises(ConfigError, match="began under other terms: generator was vq"):
        resume(made, evaluation=COUNTED)


def test_it_needs_no_package_of_the_extra(folder, monkeypatch):
    for package in ("vector_quantize_pytorch", "peft", "accelerate"):
        monkeypatch.setitem(sys.modules, package, None)  # an import of it fails
    assert proposed(told(), base=load(folder, "nb201"))


VQ = ("--task", "cifar100", "--evaluator", "embedded", "--generator", "vq")


def test_without_a_folder_the_shipped_model_proposes(tmp_path):
    words = ["run", *VQ, "--budget", "4", "--no-memory", "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert events_of(json.loads(result.stdout)["run"])[0]["generator"] == f"vq {quantised().fingerprint}"


def refused(tmp_path: Path, *words: str | Path) -> str:
    """The one line of a refusal, which leaves no run behind."""
    out = tmp_path / "runs"
    result = CliRunner().invoke(app, ["run", "--no-memory", "--budget", "3", "--out", str(out), *map(str, words)])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not out.exists()
    return result.stderr


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_cannot_be_used_is_one_line_before_a_run_is_made(tmp_path, folder, dry):
    assert "expected a space with trained sequences (nb201, nb101, darts), got 'trans101-micro'" in refused(
        tmp_path, "--space", "trans101-micro", "--task", "jigsaw", "--generator", "vq", *dry
    )
    assert "there is no trained sequence model" in refused(tmp_path, *VQ, "--generator-model", tmp_path / "none", *dry)
    assert "--generator-model is of --generator vq, got --generator evolve" in refused(
        tmp_path, "--task", "cifar100", "--evaluator", "embedded", "--generator-model", folder, *dry
    )


def test_a_model_of_another_space_or_half_a_model_is_one_line(tmp_path, folder):
    strange = tmp_path / "strange"
    made = untrained()
    made.language.about["space"] = "darts"
    made.language.save(strange / LANGUAGE)
    assert "expected a generator of space 'nb201', got one of 'darts'" in refused(
        tmp_path, *VQ, "--generator-model", strange
    )
    half = tmp_path / "half"
    BASE.language.save(half / LANGUAGE)
    weights = half / LANGUAGE / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-500])
    assert "cannot be loaded" in refused(tmp_path, *VQ, "--generator-model", half)


# -- the method of bench ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(SPACE, TASK, Convolutions())


@pytest.mark.parametrize("screened", [True, False])
def test_the_method_spends_its_budget_on_distinct_cells_and_repeats_itself_by_seed(problem, folder, screened):
    method = ArchLLMSearch(QUICK, screened, folder)
    first, again, other = (method.run(problem, seed, 14) for seed in (0, 0, 1))
    assert first == again
    assert first.ids != other.ids
    assert len(set(first.ids)) == 14
    assert first.repeats == 0


def test_the_agent_with_this_generator_searches_another_way_than_the_usual_one(problem, folder):
    settings = ("generator_model", folder), ("generator", "vq")
    ours, usual = Agent(settings).run(problem, 0, 14), Agent().run(problem, 0, 14)
    assert len(set(ours.ids)) == 14
    assert ours.ids[0] == usual.ids[0]
    assert ours.ids != usual.ids
    made = METHODS["agent-vq"]()
    assert isinstance(made, Agent)
    assert dict(made.settings) == {"generator": "vq"}


def test_the_surrogate_chooses_better_than_chance(problem, folder):
    best = [
        np.mean(
            [max(v for v in ArchLLMSearch(QUICK, screened, folder).run(problem, seed, 12).values) for seed in (0, 1)]
        )
        for screened in (True, False)
    ]
    assert best[0] > best[1]


def test_methods_that_need_a_model_run_only_where_they_are_named():
    named = {"agent-vq", "arch-llm", "arch-llm-unscreened", "arch-llm-untuned", "arch-llm-unfilled"}
    assert named <= set(METHODS)
    assert set(METHODS) - set(USUAL) == named | set(LLMATIC)


def test_a_space_without_a_model_is_told_by_the_method_too(folder):
    strange = load_space("trans101-micro")
    with pytest.raises(ConfigError, match="expected a space with trained sequences"):
        ArchLLMSearch().run(Problem(strange, TASK, Convolutions()), 0, 3)
    with pytest.raises(DataError, match="there is no trained"):
        ArchLLMSearch(model=folder / "none").run(Problem(SPACE, TASK, Convolutions()), 0, 3)
