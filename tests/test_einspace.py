"""The grammar-based space: trees that fit by construction, their networks, their texts, and a search over them."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from torch.nn.functional import conv2d, scaled_dot_product_attention

from nas_agent import Search
from nas_agent.cli import drawing
from nas_agent.errors import ConfigError, InvalidArchitecture
from nas_agent.principles.principle import Observation
from nas_agent.principles.statistics import StatisticalLearner
from nas_agent.records import Architecture, Measured, Task
from nas_agent.spaces import Mutates, Space, load_space
from nas_agent.spaces.einspace import NEIGHBOURS, EinSpace
from nas_agent.spaces.einspace_flow import signal
from nas_agent.spaces.einspace_grammar import LEAST_STEPS, WIDTH, branching_rate, draw, excess
from nas_agent.spaces.einspace_network import chain
from nas_agent.spaces.einspace_shapes import (
    START,
    Extent,
    Image,
    Shape,
    Tokens,
    arm_shape,
    canonical_module,
    elements,
    shapes,
    size_of,
    visits,
)
from nas_agent.spaces.einspace_tree import ADD, Branch, Module, read, write
from nas_agent.tools.evaluators.resolve import load_evaluation
from tests.contracts import AnySpaceContract

SPACE = EinSpace()
SEEDS = st.integers(0, 10**9)
TASK = Task("mine", "My own images, ten classes.")
CONVOLUTION = "patches_3 > linear_2w > image"
CONV_NET = (
    f"{CONVOLUTION} > norm > relu > "
    f"branch(clone2, identity | {CONVOLUTION} > norm > relu > {CONVOLUTION} > norm, add) > relu > "
    "patches_3_stride_2 > linear_4w > image > norm > relu"
)
ATTENTION = "branch(clone2, branch(clone2, linear_same | linear_same, similarity) > softmax | linear_same, product)"
HEADS = f"branch(group4, {ATTENTION}, concat)"
TRANSFORMER = (
    f"patches_2_stride_2 > linear_4w > position > branch(clone2, identity | norm > {HEADS} > linear_same, add) > "
    "branch(clone2, identity | norm > linear_double > gelu > linear_half, add) > norm"
)
MIXER = (
    "patches_2_stride_2 > linear_2w > "
    "branch(clone2, identity | norm > transpose > linear_double > gelu > linear_half > transpose, add) > "
    "branch(clone2, identity | norm > linear_double > gelu > linear_half, add) > norm"
)


def respelled(module: Module, shape: Shape, rng: Random) -> Module:
    """Write the same network otherwise: what does nothing is put in, added arms are exchanged."""
    steps: list[str | Branch] = []
    for step, before, after in zip(module, shapes(module, shape), shapes(module, shape)[1:], strict=False):
        if isinstance(step, Branch):
            entry = arm_shape(step, before)
            arms = [respelled(arm, entry, rng) for arm in step.arms]
            if step.merge == ADD and step.split == "clone2":
                rng.shuffle(arms)
            steps.append(step._replace(arms=tuple(arms)))
        else:
            steps.append(step)
        nothing: list[tuple[str, ...]] = [(), (), ("identity",)]
        nothing += [("transpose", "transpose")] if isinstance(after, Tokens) else [("patches_1", "image")]
        steps += rng.choice(nothing)
    return tuple(steps)


class TestEinSpace(AnySpaceContract):
    @pytest.fixture
    def space(self) -> EinSpace:
        return SPACE

    def member(self, space: Space, rng: Random) -> Architecture:
        while True:
            spelled = respelled(SPACE.tree(space.sample(rng)), START, rng)
            if not excess(spelled):
                return space.parse(write(spelled))

    def same_class(self, space: Space, member: Architecture, rng: Random) -> Architecture:
        spelled = respelled(SPACE.tree(member), START, rng)
        return member if excess(spelled) else space.parse(write(spelled))


def assert_sound(architecture: Architecture) -> None:
    """It can be read back, is canonical, keeps the limits and classifies images."""
    assert SPACE.parse(SPACE.format(architecture)) == architecture
    assert SPACE.canonical(architecture) == architecture
    assert not excess(SPACE.tree(architecture))
    network = SPACE.network(architecture, classes=7, in_channels=1, width=8)
    logits = network(torch.zeros(2, 1, 8, 8))
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_samples_mutations_and_children_all_build(seed: int) -> None:
    rng = Random(seed)
    mother, father = SPACE.sample(rng), SPACE.sample(rng)
    for architecture in (mother, SPACE.mutate(mother, rng), SPACE.crossover(mother, father, rng)):
        assert_sound(architecture)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_same_seed_gives_the_same_trees(seed: int) -> None:
    def trees() -> list[Architecture]:
        rng = Random(seed)
        mother, father = SPACE.sample(rng), SPACE.sample(rng)
        return [mother, father, SPACE.mutate(mother, rng), SPACE.crossover(mother, father, rng)]

    assert trees() == trees()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_another_spelling_is_the_same_network(seed: int) -> None:
    rng = Random(seed)
    module = SPACE.tree(SPACE.sample(rng))
    spelled = respelled(module, START, rng)
    assert canonical_module(spelled) == module
    assert canonical_module(canonical_module(spelled)) == canonical_module(spelled)
    assert shapes(spelled, START)[-1] == shapes(module, START)[-1]


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([Tokens(Extent(16, False), Extent(4, True)), START]))
def test_a_module_that_is_drawn_for_a_goal_ends_in_it(seed: int, goal: Shape) -> None:
    drawn = draw(START, goal, Random(seed))
    assert drawn is None or shapes(drawn, START)[-1] == goal


def test_a_mutation_changes_the_tree_and_hardly_ever_fails() -> None:
    rng = Random(0)
    trees = [SPACE.sample(rng) for _ in range(50)]
    assert all(SPACE.mutate(tree, rng).id != tree.id for tree in trees)
    assert isinstance(SPACE, Mutates)


def test_a_child_has_steps_of_both_parents() -> None:
    rng = Random(3)
    mother = SPACE.parse(f"{CONVOLUTION} > norm > {CONVOLUTION} > norm")
    father = SPACE.parse("patches_3 > gelu > linear_2w > softmax > image > relu")
    children = {SPACE.crossover(mother, father, rng).text for _ in range(40)}
    assert any("gelu" in child and "norm" in child for child in children)
    assert len(children) > 3


def test_parents_that_share_no_shapes_leave_the_first() -> None:
    mother, father = SPACE.parse("linear_2w > relu"), SPACE.parse("patches_2_stride_2 > norm")
    assert SPACE.crossover(mother, father, Random(0)) == SPACE.canonical(mother)
    assert SPACE.crossover(mother, mother, Random(0)) == SPACE.canonical(mother)


def test_neighbours_are_few_and_always_the_same() -> None:
    tree = SPACE.sample(Random(1))
    first = list(SPACE.neighbours(tree))
    assert first == list(EinSpace().neighbours(tree))
    assert 10 < len(first) <= NEIGHBOURS


def test_draws_end_and_differ_in_size_and_kind() -> None:
    assert branching_rate() < 1
    rng = Random(2)
    trees = [SPACE.tree(SPACE.sample(rng)) for _ in range(200)]
    steps = [size_of(tree, width=WIDTH).steps for tree in trees]
    assert min(steps) >= LEAST_STEPS
    assert max(steps) > 25
    text = " ".join(map(write, trees))
    assert all(f"{word}" in text for word in ("product", "similarity", "concat", "group8", "clone8", "softmax"))
    assert len(set(trees)) == 200


# -- known networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [CONV_NET, TRANSFORMER, MIXER], ids=["convolutions", "transformer", "mixer"])
def test_known_networks_can_be_written(text: str) -> None:
    assert_sound(SPACE.canonical(SPACE.parse(text)))


def test_a_routed_linear_layer_is_a_convolution() -> None:
    module = read("route(patches_3_stride_2, linear_2w, image)")
    built = chain(module, START, 4)
    linear = built[1]
    images = torch.randn(2, 4, 8, 8)
    expected = conv2d(images, linear.weight.reshape(8, 4, 3, 3), linear.bias, stride=2, padding=1)
    torch.testing.assert_close(built(images), expected)


def test_similarity_softmax_and_product_are_attention() -> None:
    built = chain(read(ATTENTION), Tokens(Extent(6, False), Extent(1, True)), 5)
    tokens = torch.randn(2, 6, 5)
    scores, values = built[0].arms
    queries, keys = (arm(tokens) for arm in scores[0].arms)
    torch.testing.assert_close(built(tokens), scaled_dot_product_attention(queries, keys, values(tokens)))


def test_groups_see_their_own_features_and_copies_have_their_own_weights() -> None:
    built = chain(read("branch(group4, linear_same, concat)"), Tokens(Extent(3, False), Extent(4, True)), 2)
    tokens = torch.randn(1, 3, 8)
    changed = tokens.clone()
    changed[..., 2:4] += 1.0  # of the second group
    moved = (built(changed) - built(tokens)).abs().amax(dim=(0, 1)) > 0
    assert moved.tolist() == [False, False, True, True, False, False, False, False]
    assert len({arm[0].weight.flatten()[0].item() for arm in built[0].arms}) == 4


# -- texts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_the_written_network_is_the_built_one(seed: int) -> None:
    architecture = SPACE.sample(Random(seed))
    text = SPACE.module_source(architecture, classes=4)
    written: dict[str, type[torch.nn.Module]] = {}
    exec(compile(text, "best.py", "exec"), written)
    torch.manual_seed(0)
    theirs = written["Network"](classes=4, in_channels=3, width=8)
    torch.manual_seed(0)
    ours = SPACE.network(architecture, classes=4, in_channels=3, width=8)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(theirs(images), ours(images))
    assert SPACE.source(architecture) in text
    lines = [line for line in text.splitlines() if line.startswith(("import", "from"))]
    assert lines == ["import torch", "import torch.nn.functional as F", "from torch import nn"]


@pytest.mark.parametrize("text", [CONV_NET, TRANSFORMER, MIXER])
@pytest.mark.parametrize("width", [4, 16])
def test_parameters_are_those_of_the_network(text: str, width: int) -> None:
    counted = size_of(SPACE.tree(SPACE.parse(text)), width=width).parameters
    network = SPACE.network(SPACE.parse(text), classes=10, in_channels=3, width=width)
    assert counted == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("seed", range(10))
def test_shapes_are_those_of_the_network_at_any_width(seed: int) -> None:
    module = SPACE.tree(SPACE.sample(Random(seed)))
    for width in (4, 6):
        out = chain(module, START, width)(torch.randn(1, width, 8, 8))
        assert out.numel() == elements(shapes(module, START)[-1], width)


def test_the_derivation_names_the_rules() -> None:
    text = (
        "patches_3 > linear_2w > image > branch(clone2, relu | patches_2_stride_2 > transpose > norm > transpose, add)"
    )
    with pytest.raises(InvalidArchitecture, match="one shape"):
        SPACE.parse(text)
    mixed = "patches_1 > transpose > norm > transpose > image"
    text = f"{CONVOLUTION} > relu > branch(clone2, identity | {mixed}, add) > patches_1"
    assert SPACE.derivation(SPACE.parse(text)) == (
        "sequential(routing(patches_3, computation(linear_2w), image), computation(relu), branching(clone2, "
        "computation(identity), routing(patches_1, routing(transpose, computation(norm), transpose), image), add), "
        "routing(patches_1, computation(identity), identity))"
    )
    assert SPACE.texts()["derivation"](SPACE.parse("relu")) == "computation(relu)"


def test_the_class_text_has_the_parts_inline() -> None:
    text = "patches_2_stride_2 > linear_2w > branch(group2, norm | gelu, concat) > branch(clone4, position, add)"
    assert SPACE.source(SPACE.parse(text)) == (
        "class Arm1(nn.Module):\n"
        "    def __init__(self, C):\n"
        "        super().__init__()\n"
        "        self.position1 = nn.Parameter(0.02 * torch.randn(16, 2 * C))\n"
        "\n"
        "    def forward(self, x):  # (B, 16, 2 * C)\n"
        "        x = x + self.position1\n"
        "        return x\n"
        "\n\n"
        "class Body(nn.Module):\n"
        "    def __init__(self, C):\n"
        "        super().__init__()\n"
        "        self.linear1 = nn.Linear(4 * C, 2 * C)\n"
        "        self.norm1 = nn.LayerNorm(C)\n"
        "        self.arms1 = nn.ModuleList(Arm1(C) for _ in range(4))\n"
        "\n"
        "    def forward(self, x):  # (B, C, 8, 8)\n"
        "        x = F.unfold(x, 2, stride=2).transpose(1, 2)  # (B, 16, 4 * C)\n"
        "        x = self.linear1(x)\n"
        "        a1, b1 = x.chunk(2, dim=-1)\n"
        "        a1 = self.norm1(a1)\n"
        "        b1 = F.gelu(b1)\n"
        "        x = torch.cat([a1, b1], dim=-1)\n"
        "        x = sum([arm(x) for arm in self.arms1])\n"
        "        return x"
    )


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("identity > relu > identity > relu", "relu"),
        ("route(patches_3, linear_2w, image)", CONVOLUTION),
        ("patches_1 > transpose > transpose > image > norm", "norm"),
        ("branch(clone2, relu | norm, add)", "branch(clone2, norm | relu, add)"),
        ("linear_2w > branch(group2, identity | identity > identity, concat) > gelu", "linear_2w > gelu"),
        ("linear_1w > linear_2w", "linear_same > linear_double"),
        ("linear_4w > linear_2w > norm", "linear_4w > linear_half > norm"),
    ],
)
def test_equal_networks_share_an_id(text: str, same: str) -> None:
    assert SPACE.parse(text).id == SPACE.parse(same).id
    assert SPACE.canonical(SPACE.parse(text)) == SPACE.canonical(SPACE.parse(same))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("branch(clone2, relu | norm, concat)", "branch(clone2, norm | relu, concat)"),
        ("branch(clone2, identity | identity, add)", "identity"),
        ("softmax > softmax", "softmax"),
        ("linear_same > relu", "relu > linear_same"),
    ],
)
def test_different_networks_do_not(text: str, other: str) -> None:
    assert SPACE.parse(text).id != SPACE.parse(other).id


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("conv3x3", "unknown step 'conv3x3'; choose from linear_1w"),
        ("relu >", "the end"),
        ("relu relu", "after the end"),
        ("relu > !", "found"),
        ("image", "expected tokens, got an image"),
        ("transpose", "expected tokens, got an image"),
        ("patches_1 > patches_3", "expected an image, got tokens"),
        ("patches_1 > transpose > image", "as many tokens as a square has pixels"),
        ("patches_4_stride_4 > image > patches_4_stride_4", "too small"),
        ("linear_1w > linear_half", "divided by 2"),
        ("branch(group2, relu | relu, add)", "divided by 2"),
        ("branch(clone2, relu, add)", r"expected 2 arm\(s\)"),
        ("branch(clone4, relu | norm, add)", r"expected 1 arm\(s\)"),
        ("branch(clone3, relu, add)", "unknown split 'clone3'; choose from"),
        ("branch(clone2, relu | norm, multiply)", "unknown merge 'multiply'; choose from"),
        ("branch(clone2, linear_2w | relu, add)", "arms of one shape"),
        ("branch(clone2, patches_1 | relu, concat)", "differ in their features only"),
        ("branch(clone2, relu | relu, product)", "end in tokens"),
        ("patches_1 > branch(clone2, relu | relu, product)", "can be multiplied"),
        ("patches_1 > branch(clone4, relu, similarity)", "expected two arms"),
        ("branch(clone2, relu | norm, add", "in place of '\\)'"),
        ("route(linear_1w, relu, image)", "unknown routing"),
        (" > ".join(["relu", "norm"] * 40), "80 steps, at most 60"),
        ("patches_3 > relu > image > patches_3 > relu > image", "numbers between two steps"),
        (" > ".join(["linear_8w", "patches_3", "linear_8w", "image"] * 2), "over|at most"),
        ("relu" * 6000, "write a smaller tree"),
        ("route(transpose, " * 1000 + "relu" + ", transpose)" * 1000, "write a smaller tree"),
        ("route(transpose, " * 600 + "relu" + ", transpose)" * 600, "inside each other"),
        ("branch(clone4, " * 300 + "relu" + ", add)" * 300, "at most 5 branches inside each other"),
    ],
)
def test_what_does_not_fit_is_refused_with_advice(text: str, why: str) -> None:
    with pytest.raises(InvalidArchitecture, match=why):
        SPACE.parse(text)


def test_features_count_and_follow_paths() -> None:
    blocks = SPACE.features(SPACE.parse(f"branch(clone2, {CONVOLUTION} > relu > {CONVOLUTION} | linear_2w, add)"))
    plain = SPACE.features(SPACE.parse(CONVOLUTION))
    steps, branches, nesting, arms, most, fewest, patches = blocks["depth"][:7]
    assert (steps, branches, nesting, arms, most, fewest, patches) == (9, 1, 1, 2, 2, 1, 2)
    assert blocks["count"].sum() == 8 + 2  # a branch counts as its split and its merge
    assert (blocks["cost"] >= plain["cost"]).all()
    assert "size" not in blocks  # the surrogate would expect larger trees to score better


@pytest.mark.parametrize(
    ("more", "fewer"),
    [
        ("linear_same", "linear_same > linear_same"),  # each bias covers more of what the image says
        ("relu", "softmax > relu"),
        ("linear_same > linear_same > norm", "linear_same > linear_same"),  # of an image: biases go
        ("branch(clone2, identity | softmax > linear_same, add)", "softmax > linear_same"),
        ("patches_1 > position", "patches_1 > linear_1w > position"),
    ],
)
def test_the_estimate_tells_what_drowns_the_image(more: str, fewer: str) -> None:
    share, other = (signal(SPACE.tree(SPACE.parse(text)))[0] for text in (more, fewer))
    assert share > other + 0.02


def test_a_linear_layer_keeps_a_third_and_adds_its_bias() -> None:
    before = signal(())
    assert before[0] == pytest.approx(np.log10(0.6))
    after = signal(("linear_4w",))
    assert after[2] == pytest.approx(np.log10(1 / 3 + 1 / (3 * WIDTH)))
    assert after[3] == after[0] == pytest.approx(np.log10(0.2) - after[2])


def test_the_estimate_orders_untrained_networks_by_what_reaches_their_head() -> None:
    rng, measured, estimated = Random(2), [], []
    images = torch.from_numpy(np.kron(np.random.default_rng(0).normal(size=(64, 1, 4, 4)), np.ones((2, 2)))).float()
    for _ in range(60):
        tree = SPACE.sample(rng)
        torch.manual_seed(0)
        network = SPACE.network(tree, classes=10, in_channels=1, width=WIDTH)
        with torch.no_grad():
            pooled = network.body(network.stem(images)).mean(dim=network.places).double()
        measured.append(float(pooled.var(dim=0).mean() / (pooled.square().mean() + 1e-30)))
        estimated.append(SPACE.features(tree)["signal"][1])
    assert kendalltau(measured, estimated).statistic > 0.5


@pytest.mark.parametrize(
    ("text", "alternations", "mixed", "reach", "turned"),
    [
        ("linear_2w", 0, True, 0, False),
        ("relu > gelu", 1, False, 0, False),  # the stem mixes, and nothing after it
        ("relu > patches_1 > relu", 1, False, 0, False),
        ("relu > patches_3 > gelu > image", 2, False, 2, False),
        ("relu > norm > patches_3", 1, True, 2, False),
        ("patches_1 > norm", 1, False, 0, False),  # of a token: not linear
        ("norm", 0, True, 0, False),
        ("relu > patches_2_stride_2 > transpose > linear_2w > gelu", 2, False, 9, True),
        ("relu > branch(clone2, identity | patches_3 > linear_1w > image > gelu, add)", 2, False, 2, False),
        ("relu > patches_1 > branch(clone2, linear_same | linear_same, similarity)", 2, True, 8, False),
    ],
)
def test_mixing_counts_what_sees_where_parts_are(
    text: str, alternations: int, mixed: bool, reach: int, turned: bool
) -> None:
    found = SPACE.features(SPACE.parse(text))["mixing"]
    assert found.tolist() == [np.log2(1 + alternations), mixed, np.log2(1 + reach), turned]


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_all_features_are_finite(seed: int) -> None:
    assert all(np.isfinite(block).all() for block in SPACE.features(SPACE.sample(Random(seed))).values())


# -- a space without decisions in the program ---------------------------------------------------------


def test_there_are_no_decisions_and_choices_are_refused() -> None:
    assert SPACE.decisions == ()
    assert SPACE.choices(SPACE.sample(Random(0))) == {}
    with pytest.raises(InvalidArchitecture, match="has no decisions"):
        SPACE.build({})


def test_without_decisions_there_is_nothing_to_learn() -> None:
    seen = [Observation(str(number), {}, float(number), "digits") for number in range(20)]
    assert StatisticalLearner().learn(seen, SPACE.decisions) == []


def test_a_language_model_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(ConfigError, match="space 'einspace' has no decisions"):
        Search("digits", space="einspace", llm="openai:gpt-4o")
    Search("digits", space="einspace", llm="none")


def test_a_tree_is_drawn_as_its_text() -> None:
    tree = SPACE.parse(CONV_NET)
    lines = drawing.draw(SPACE, tree, width=60)
    assert " ".join(lines) == CONV_NET
    assert max(map(len, lines)) <= 60


def search(seed: int) -> Search:
    """Search by ask and tell for trees with many norms, few of which a sample has."""
    asked = Search(TASK, space=EinSpace(), budget=16, seed=seed)
    while proposals := asked.ask():
        for proposal in proposals:
            asked.tell(proposal, float(proposal.architecture.text.count("norm")))
    return asked


def test_a_search_runs_to_its_end_and_beats_samples() -> None:
    found = search(0)
    outcomes = found.result().outcomes
    assert len({outcome.architecture.id for outcome in outcomes}) == 16
    rng = Random(0)
    sampled = [SPACE.sample(rng).text.count("norm") for _ in range(500)]
    assert found.best is not None
    assert found.best.value > np.quantile(sampled, 1 - 1 / 16)
    assert [outcome.architecture for outcome in search(0).result().outcomes] == [o.architecture for o in outcomes]


@pytest.mark.slow
def test_trees_are_trained_on_digits() -> None:
    evaluator = load_evaluation("digits", load_space("einspace"), "auto", data=None, epochs=2).evaluator
    outcome = evaluator.evaluate(load_space("einspace").parse(CONV_NET), seed=0)
    assert isinstance(outcome, Measured), outcome
    assert outcome.value > 60


def test_every_step_keeps_the_limit_of_what_lies_between() -> None:
    rng = Random(9)
    for _ in range(30):
        module = SPACE.tree(SPACE.sample(rng))
        assert all(elements(visit.after, WIDTH) <= 80_000 for visit in visits(module))
        assert isinstance(shapes(module, START)[0], Image)
