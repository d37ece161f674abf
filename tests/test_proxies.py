"""Zero-cost proxies against their formulas written down a second time, and on networks that are degenerate."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.proxies import PROXIES
from nas_agent.tools.proxies.measures import measure

ALL = tuple(PROXIES)
NOTHING = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def batch(size: int = 8, channels: int = 3, side: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    images = torch.randn(size, channels, side, side, generator=chance)
    return images, torch.arange(size) % 3


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))


def test_naswot_is_the_log_determinant_of_agreeing_units() -> None:
    network, (images, labels) = small(), batch(6, 3, 2)
    x, agree = images.flatten(1), np.zeros((6, 6))
    for layer in (1, 3):
        x = network[layer](x)  # type: ignore[index]
        on = (x > 0).numpy()
        agree += (on[:, None] == on[None]).sum(axis=2)
        x = x.relu()
    sign, expected = np.linalg.slogdet(agree)
    found = measure(network, images, labels, ["naswot"])["naswot"]
    assert found == (pytest.approx(expected, rel=1e-5) if sign > 0 else None)
    assert sign > 0


def test_naswot_sees_relus_that_are_no_modules() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = small()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            layers = list(self.body.children())
            x = torch.relu(layers[1](x.flatten(1)))
            return layers[5](nn.functional.relu(layers[3](x)))

    images, labels = batch(6, 3, 2)
    torch.manual_seed(0)
    other = Functional()
    other.body = small()
    assert measure(other, images, labels, ["naswot"]) == measure(small(), images, labels, ["naswot"])


def test_synflow_is_each_layers_flow_which_is_the_same_for_all() -> None:
    network, (images, labels) = small(), batch(6, 3, 2)
    flow = torch.ones(1, 12, dtype=torch.float64)
    for layer in (1, 3, 5):
        nn.init.zeros_(network[layer].bias)  # type: ignore[index]
        flow = flow @ network[layer].weight.detach().double().abs().T  # type: ignore[index]
    found = measure(network, images, labels, ["synflow"])["synflow"]
    assert found == pytest.approx(3 * float(flow.sum()), rel=1e-9)  # Tanaka et al., theorem 1: three layers carry it


def test_snip_and_norms_of_one_layer_are_those_of_its_known_gradient() -> None:
    torch.manual_seed(1)
    layer = nn.Linear(12, 3)
    images, labels = batch(6, 3, 2)
    x = images.flatten(1).double()
    share = torch.softmax(x @ layer.weight.double().T + layer.bias.double(), dim=1).detach()
    wanted = torch.nn.functional.one_hot(labels, 3).double()
    gradient = (share - wanted).T @ x / len(x)
    found = measure(nn.Sequential(nn.Flatten(), layer), images, labels, ["snip", "grad_norm", "l2_norm"])
    assert found["snip"] == pytest.approx(float((gradient * layer.weight.detach()).abs().sum()), rel=1e-4)
    assert found["grad_norm"] == pytest.approx(float(gradient.detach().norm()), rel=1e-4)
    assert found["l2_norm"] == pytest.approx(float(layer.weight.detach().norm()), rel=1e-5)


def test_jacov_is_made_of_the_eigenvalues_of_correlated_input_gradients() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 60), nn.ReLU(), nn.Linear(60, 3))
    images, labels = batch(6, 3, 2)
    rows = []
    for image in images:
        one = image[None].clone().requires_grad_(True)
        network(one).sum().backward()
        rows.append(one.grad.flatten().numpy())  # type: ignore[union-attr]
    values = np.linalg.eigvalsh(np.corrcoef(np.array(rows, dtype=np.float64)))
    expected = -sum(math.log(max(v, 0) + 1e-5) + 1 / (max(v, 0) + 1e-5) for v in values)
    assert measure(network, images, labels, ["jacov"])["jacov"] == pytest.approx(expected, rel=1e-3)


def test_counts_are_those_of_the_space() -> None:
    space, (images, labels) = NasBench201(), batch(4, 3, 32)
    cell = space.sample(Random(3))
    found = measure(space.network(cell, classes=10, in_channels=3, width=8), images, labels, ["params", "flops"])
    assert found["params"] == space.parameters(cell, classes=10, width=8)
    assert found["flops"] == space.flops(cell, classes=10, width=8, side=32)


def test_the_same_seed_gives_the_same_scores_and_the_network_stays_as_it_was() -> None:
    space, (images, labels) = NasBench201(), batch()
    cell = space.sample(Random(3))

    def scored(seed: int) -> dict[str, float | None]:
        torch.manual_seed(seed)
        network = space.network(cell, classes=3, in_channels=3, width=4)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        found = measure(network, images, labels, ALL)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())
        return found

    first, again, other = scored(0), scored(0), scored(1)
    assert first == again
    assert all(value is not None for value in first.values())
    assert {name for name in ALL if first[name] != other[name]} == set(ALL) - {"params", "flops"}


def test_a_cell_without_a_path_has_no_score_where_the_formula_has_none() -> None:
    space, (images, labels) = NasBench201(), batch()
    torch.manual_seed(0)
    network = space.network(space.parse(NOTHING), classes=3, in_channels=3, width=4)
    found = measure(network, images, labels, ALL)
    assert found["naswot"] is None
    assert found["jacov"] is None
    assert found["params"] is not None
    assert all(value is None or math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
def test_infinite_and_undefined_scores_are_none(spoilt: float) -> None:
    class Spoilt(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * spoilt

    images, labels = batch(6, 3, 2)
    found = measure(nn.Sequential(nn.Flatten(), Spoilt(12, 3)), images, labels, ["snip", "grad_norm", "synflow"])
    assert found == {"snip": None, "grad_norm": None, "synflow": None}


def test_a_network_without_relus_has_no_naswot() -> None:
    images, labels = batch(6, 3, 2)
    assert measure(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), images, labels, ["naswot"]) == {"naswot": None}
