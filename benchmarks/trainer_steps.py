"""Steps of the trainer on one network: images a second, what each part brings, and the share of the device's limit.

    python benchmarks/trainer_steps.py parts              # a CPU: layout, optimiser, number format; one thread
    python benchmarks/trainer_steps.py limit              # against the largest rate of matrix products, by FLOPs
    python benchmarks/trainer_steps.py limit --device cuda --batches 128,512,2048
    python benchmarks/trainer_steps.py compiled           # torch.compile: what it takes first, and saves at each step
    python benchmarks/trainer_steps.py compiled --device cuda --batches 128,512    # with CUDA graphs, too

The network is an NB201 cell of five 3x3 convolutions. On a CPU the time is that of the process, so that it hardly
depends on what else runs. The limit is the rate of a product of two square matrices in the same number format; FLOPs
are those of the convolutions and products of a step, forward and backward, by torch's counter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.candidate import built
from nas_agent.tools.evaluators.trainer import Place, find_place

SPACE = NasBench201()
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def stepper(
    side: int,
    width: int,
    channels: int,
    batch: int,
    place: Place,
    *,
    last: bool = True,
    fused: bool = True,
    mode: str | None = None,
) -> Callable[[], None]:
    """Return one step of training on random images; with a `mode`, of the network as torch.compile makes it."""
    layout = torch.channels_last if last else torch.contiguous_format
    network = built(SPACE, SPACE.parse(CELL), {"classes": 10, "channels": channels, "width": width})
    network = network.to(place.device, memory_format=layout)  # type: ignore[call-overload]
    computed = network if mode is None else torch.compile(network, mode=mode)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=fused)
    images = torch.randn(batch, channels, side, side, device=place.device).contiguous(memory_format=layout)
    labels = torch.randint(10, (batch,), device=place.device)

    def step() -> None:
        with place.autocast():
            logits = computed(images)
        optimiser.zero_grad()
        cross_entropy(logits.float(), labels).backward()
        optimiser.step()

    return step


def fastest(work: Callable[[], object], times: int, place: Place) -> float:
    """Return the seconds of the fastest of some calls, after one that sets the kernels up."""
    work()
    found = []
    for _ in range(times):
        if place.device.startswith("cuda"):
            torch.cuda.synchronize()
        start = time.perf_counter() if place.device.startswith("cuda") else time.process_time()
        work()
        if place.device.startswith("cuda"):
            torch.cuda.synchronize()
            found.append(time.perf_counter() - start)
        else:
            found.append(time.process_time() - start)
    return min(found)


def parts(asked: argparse.Namespace) -> None:
    """Print images a second for each way to compute the same steps."""
    for side, width, channels, batch in ((32, 16, 3, 128), (16, 8, 3, 128), (8, 16, 1, 64)):
        first = 0.0
        for last in (False, True):
            for fused in (False, True):
                for precision in ("float32", "bfloat16"):
                    place = Place("cpu", precision)
                    step = stepper(side, width, channels, batch, place, last=last, fused=fused)
                    found = batch / fastest(step, asked.steps, place)
                    first = first or found
                    how = f"{'channels-last' if last else 'contiguous':<13} {'fused SGD' if fused else 'plain SGD'}"
                    print(
                        f"{side}x{side}, {width:2} channels: {how} {precision:<8} {found:7.0f} images/s "
                        f"{found / first:5.2f}x",
                        flush=True,
                    )


def limit(asked: argparse.Namespace) -> None:
    """Print images a second, and the share of the device's largest rate that their FLOPs are."""
    for precision in dict.fromkeys(("float32", find_place(asked.device, "auto", 32).precision)):
        place = find_place(asked.device, precision, 32)
        number = getattr(torch, precision)
        square = torch.randn(asked.side, asked.side, device=place.device).to(number)
        largest = 2 * asked.side**3 / fastest(lambda square=square: square @ square, asked.steps, place)  # type: ignore[misc]
        print(f"{place.device}, {precision}: matrix products {largest / 1e9:.0f} GFLOP/s", flush=True)
        for side, width, batch in [(32, 16, batch) for batch in asked.batches] + [(16, 8, 128), (16, 16, 128)]:
            step = stepper(side, width, 3, batch, place)
            with FlopCounterMode(display=False) as counter:
                step()
            each = counter.get_total_flops() / batch
            found = batch / fastest(step, asked.steps, place)
            print(
                f"  {side}x{side}, {width:2} channels, batches of {batch}: {found:7.0f} images/s, "
                f"{each / 1e6:.0f} MFLOP an image, {found * each / 1e9:.0f} GFLOP/s, "
                f"{100 * found * each / largest:.1f} % of the limit",
                flush=True,
            )


def compiled(asked: argparse.Namespace) -> None:
    """Print what a network's compilation takes by the clock, and after how many images it is paid back."""
    place = find_place(asked.device, "auto", 32)
    modes = (
        ("default", "reduce-overhead") if place.device.startswith("cuda") else ("default",)
    )  # the other: CUDA graphs
    for side, width, batch in [(32, 16, batch) for batch in asked.batches] + [(8, 16, 64)]:
        plain = fastest(stepper(side, width, 3, batch, place), asked.steps, place)
        for mode in modes:
            torch.compiler.reset()
            step = stepper(side, width, 3, batch, place, mode=mode)
            start = time.perf_counter()
            step()
            first = time.perf_counter() - start - plain
            saved = plain - fastest(step, asked.steps, place)
            back = f"paid back after {first / saved * batch:,.0f} images" if saved > 0.0 else "never paid back"
            print(
                f"{side}x{side}, {width} channels, batches of {batch}, {mode}: the first step takes {first:.1f} s, "
                f"each one later {100 * saved / plain:.0f} % less: {back}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("parts", "limit", "compiled"))
    parser.add_argument("--steps", type=int, default=5, help="that are timed")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--batches", type=lambda text: [int(part) for part in text.split(",")], default=[128], help="at 32x32 pixels"
    )
    parser.add_argument("--side", type=int, default=2048, help="of the matrices")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"one thread, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}")
    {"parts": parts, "limit": limit, "compiled": compiled}[asked.what](asked)


if __name__ == "__main__":
    main()
