"""Niches of open code for digits: networks are built into nearly all of them (benchmarks/quality_diversity.py)."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from nas_agent.agents.generators.quality_diversity.niches import Niches
from nas_agent.agents.generators.quality_diversity.ranges import Programs, axes_of, measures
from nas_agent.spaces.inspection import NetworkShape
from nas_agent.spaces.pytorch import Pytorch

PROGRAM = Path(__file__).parent.parent / "benchmarks" / "quality_diversity.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_quality_diversity", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Counted:
    side: int
    channels: int
    layers: int
    kernel: int
    width: int

    @property
    def measures(self) -> tuple[float, float]:
        weights = self.channels * (1 + self.layers * self.channels * self.kernel**2 + self.width)
        flops = self.side**2 * weights + 10 * self.width
        return max(self.channels, self.width) / (self.layers + 3), float(flops)


def test_open_code_is_a_space_of_programs_with_ranges_for_its_images() -> None:
    space = Pytorch(NetworkShape.of(10, 1, 8))
    assert isinstance(space, Programs)
    assert axes_of(space)[1].high == space.shape.flops / 4
    assert Pytorch(NetworkShape.of(10, 3, 32)).ranges["flops"] == (2e8, 5e9)  # LLMatic's, for CIFAR-10 alone


def test_there_is_a_network_for_nearly_every_niche_by_counting(benchmark: ModuleType) -> None:
    niches = Niches(axes_of(Pytorch(NetworkShape.of(10, 1, 8))))
    for number, plan in enumerate(benchmark.plans(Pytorch(NetworkShape.of(10, 1, 8)), niches)):
        niches.add(str(number), 1.0, Counted(*plan).measures)
    assert len(niches.elites) >= 90
    assert niches.outside == 0


@pytest.mark.slow
def test_the_sandbox_agrees_for_at_least_ninety_of_a_hundred(benchmark: ModuleType) -> None:
    space, _ = benchmark.loaded(1, 1.0)
    niches = Niches(axes_of(space))
    for number, plan in enumerate(benchmark.plans(space, niches)):
        made = space.parse(benchmark.template(*plan))
        niches.add(str(number), 1.0, measures(space, made))
        assert measures(space, made) == pytest.approx(Counted(*plan).measures, rel=0.05)
    assert len(niches.elites) >= 90
