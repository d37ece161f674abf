"""Whether children that begin with their parents' weights find better networks, at equal evaluations.

    python benchmarks/inheritance.py --out DIR --budget 60 --epochs 4 --seeds 2 [--arms none,order,names]

Runs that are there already are read, not made again; a stopped one goes on. Digits, `--generator code`, no surrogate.
Prints for each run: the best validation value (confirmed from scratch), the mean of measured children, of those that
entered the archive, trainings (confirmations included), the seconds of training, and the test value of the winner.
Then, of the weights that lie in the folders: how much a child finds among its parents' by names and by order.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

from nas_agent.agents.generators.quality_diversity import Axis, Illumination, settings_of
from nas_agent.cli.story import Story
from nas_agent.config import make_config
from nas_agent.records import Measured, outcome_from_dict
from nas_agent.run import resume, start
from nas_agent.tools.evaluators.inheritance import matched
from nas_agent.tools.event_log import read_events
from nas_agent.tools.run_folder import RunFolder
from nas_agent.tools.tried import Tried


def folder_of(out: Path, arm: str, seed: int, budget: int, epochs: int) -> RunFolder:
    made = out / f"{arm}-{seed}"
    known = sorted(made.glob("*/run.json"))
    if known:
        folder = RunFolder(known[0].parent)
        if not folder.best_json.exists():
            resume(folder)
        return folder
    settings = {
        "task": "digits", "space": "pytorch", "generator": "code", "surrogate": "none", "inherit": arm, "seed": seed,
        "budget": budget, "epochs": epochs, "memory": False, "recall": "none", "out": made,
    }  # fmt: skip
    return RunFolder(Path(start(make_config(settings)).run or ""))


def told(folder: RunFolder, until: int) -> str:
    """Sum up the first so many evaluations of a run, finished or not."""
    events = read_events(folder.events)[0]
    proposals = {e["proposal"]["architecture"]["id"]: e["proposal"] for e in events if e["type"] == "proposal"}
    outcomes = [outcome_from_dict(event["outcome"]) for event in events if event["type"] == "outcome"][:until]
    measured = [one for one in outcomes if isinstance(one, Measured)]
    children = [one for one in measured if proposals[one.architecture.id]["parents"]]
    if not children:
        return f"{len(outcomes)} evaluations, no child yet"
    entered = entrants(folder, until)
    accepted = [one for one in children if one.architecture.id in entered]
    best, again = max(one.value for one in measured), sum(bool(one.repeats) for one in measured)
    ended = [event for event in events if event["type"] == "finished"]
    test = ended[0]["test"]["value"] if ended and until >= len(outcomes) else None
    return (
        f"{len(outcomes)} evaluations ({len(outcomes) - len(measured)} failed), best {best:.2f}, mean of children "
        f"{fmean(one.value for one in children):.2f}, of accepted {fmean(one.value for one in accepted):.2f} "
        f"({len(accepted)}), trainings {len(outcomes) + again}, seconds {sum(one.seconds for one in outcomes):.0f}, "
        f"test {test if test is None else round(test, 2)}"
    )


def entrants(folder: RunFolder, until: int) -> set[str]:
    """Return the ids of those that took a niche of the archive, replayed from the log."""
    story, tried = Story.read(folder), Tried()
    for event in story.events:
        if event["type"] != "outcome" or event["evaluation"] <= until:
            tried.follow(event)
    axes = [Axis(**axis) for axis in story.started["axes"]]
    first = next(iter(story.archive)).architecture
    state = Illumination(story.task, axes, first, settings_of(story.config))
    state.follow(tried.items)
    return state.entered


def shares(folder: RunFolder) -> tuple[list[float], list[float]]:
    """Return the share of each child's numbers that names and order find among its parents'."""
    events = read_events(folder.events)[0]
    proposals = {e["proposal"]["architecture"]["id"]: e["proposal"] for e in events if e["type"] == "proposal"}
    found: tuple[list[float], list[float]] = [], []
    for event in events:
        inherited = event["outcome"].get("inherited") if event["type"] == "outcome" else None
        if not inherited or inherited["legacy"] is None:
            continue
        parents = proposals[event["outcome"]["architecture"]["id"]]["heritage"]["parents"]
        own, sizes = _shapes(folder, inherited["legacy"]["file"])
        theirs = [_shapes(folder, parent["file"])[0] for parent in parents]
        if theirs:
            for share, by_order in zip(found, (False, True), strict=True):
                taken = matched(own, theirs, by_order=by_order)
                share.append(sum(sizes[name] for name in taken) / sum(sizes.values()))
    return found


def _shapes(folder: RunFolder, file: str) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
    from safetensors import safe_open

    shapes, sizes = {}, {}
    with safe_open(folder.weights / f"{file}.safetensors", "np") as weights:
        for key in sorted(weights.keys()):
            part = weights.get_slice(key)
            name, sides = key.partition(" ")[2], part.get_shape()
            shapes[name] = (part.get_dtype(), *map(str, sides))
            sizes[name] = 1
            for side in sides:
                sizes[name] *= side
    return shapes, sizes


def main() -> None:
    """Run what is not there, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--arms", default="none,order")
    parser.add_argument("--told-only", action="store_true", help="make nothing, print what is there")
    given = parser.parse_args()
    for seed in range(given.seeds):
        for arm in given.arms.split(","):
            if not given.told_only:
                folder_of(given.out, arm, seed, given.budget, given.epochs)
            for file in sorted((given.out / f"{arm}-{seed}").glob("*/run.json")):
                print(f"{arm} {seed}: {told(RunFolder(file.parent), given.budget)}", flush=True)
    names, order = [], []
    for file in sorted(given.out.glob("*/*/run.json")):
        by_names, by_order = shares(RunFolder(file.parent))
        names, order = names + by_names, order + by_order
    if names:
        print(json.dumps({"children": len(names), "by names": fmean(names), "by order": fmean(order)}))


if __name__ == "__main__":
    main()
