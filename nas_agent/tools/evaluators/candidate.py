"""One request of the process that trains: build the network, train, predict, and leave what is to be kept of it.

The same lines run in a child of the worker (trusted code) and as a job of a sandbox. Neither knows the labels of the
images that it is to classify: it returns a class for each, and who asked compares.
"""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_agent.errors import ConfigError, InvalidArchitecture, NasAgentError
from nas_agent.records import Json
from nas_agent.tools.curves import Bar
from nas_agent.tools.weights import MOST

if TYPE_CHECKING:
    from torch import nn

    from nas_agent.records import Architecture
    from nas_agent.spaces.base import Space
    from nas_agent.tools.evaluators.trainer import Part, Place, Recipe

NUMBER = "<u4"  # of a class, as numpy calls the format in which predictions travel
LABELLED = ("pixels", "labels")
LEFT = "weights"  # what the reply of a job calls those that children may inherit
SHOWN = 8  # images on which what was written is compared with what was trained


def answers(request: Json) -> Iterator[Json]:
    """Yield `ready` and then the outcome, or one line that says why there can be none."""
    import torch

    from nas_agent.tools.evaluators.trainer import find_place

    torch.set_num_threads(request.get("threads", 1))
    torch.set_flush_denormal(True)  # numbers too small to matter would cost a CPU a hundred times the time
    try:
        place = find_place(request["device"], request["precision"], request["side"])
        build = builder(request)
    except ConfigError as error:
        yield {"status": "misconfigured", "reason": str(error)}
        return
    except (ImportError, OSError, NasAgentError) as error:
        yield {"status": "broken", "reason": f"{type(error).__name__}: {error}"}
        return
    yield {"status": "ready", "device": place.device, "precision": place.precision}
    if build is None:
        return
    if request.get("memory") is not None and place.device.startswith("cuda"):
        whole = torch.cuda.get_device_properties(place.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, request["memory"] * 2**30 / whole), place.device)
    if "proxies" in request:
        yield scored(build, request, place)
        return
    network, what = outcome(build, request, place)
    if network is not None and request.get("save"):
        what = {**what, **saved(network, request)}
    yield what


def job(request: Json, model: bytes) -> tuple[Json, bytes]:
    """Answer as a job of a sandbox: what is said, and as bytes the classes and then the files that are to be kept.

    `model` is the `model.py` of the network that is to be left, which is written where the job can write; or it is the
    weights that the network may inherit, one file after the other.
    """
    from nas_agent.tools.evaluators.artefacts import ONNX, SOURCE, WEIGHTS

    if request.get("save"):
        request["save"] = "."
        Path(SOURCE).write_bytes(model)
    elif request.get("inherit"):
        request["inherit"]["files"] = _cut(model, request["inherit"]["sizes"])
    *_, last = answers(request)
    data = last.pop("classes", b"")
    files = {name: Path(name).read_bytes() for name in (WEIGHTS, ONNX) if Path(name).exists()}
    if LEFT in last:
        files[LEFT] = last.pop(LEFT)
    if "reason" in last:  # the scratch folder is called differently each time
        last["reason"] = last["reason"].replace(os.getcwd(), ".")
    told = {**last, "files": {name: len(content) for name, content in files.items()}}
    return told, b"".join([data, *files.values()])


def _cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    ends = list(accumulate(sizes))
    return [data[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def builder(request: Json) -> Callable[[], nn.Module] | None:
    """Return what builds the network: of the text that came along, or by the space; None where none is asked for."""
    sizes = {"classes": request.get("classes"), "in_channels": request.get("channels"), "width": request.get("width")}
    if "source" in request:
        return lambda: stand_alone(request["source"], sizes)
    if request.get("space") is None:
        return None
    from nas_agent.spaces import load_space

    space = load_space(request["space"])
    if "architecture" not in request:
        return None
    return lambda: built(space, space.parse(request["architecture"]), request)


def outcome(build: Callable[[], nn.Module], request: Json, place: Place) -> tuple[nn.Module | None, Json]:
    """Train and predict; whatever goes wrong here is the architecture's doing, and so data."""
    import torch

    from nas_agent.tools.evaluators.trainer import NonFiniteLoss, Recipe, classified, train

    start, cause = time.perf_counter(), "network"
    bar = None if request.get("bar") is None else Bar.from_dict(request["bar"])
    curve = list[float]()  # mean training loss of each epoch

    def watch(loss: float) -> bool:
        curve.append(loss)
        return bar is not None and bar.stops(curve)

    try:
        torch.manual_seed(request["seed"])
        network = build()
        inherited = begun(network, request)
        recipe = Recipe(**request["recipe"])
        part = part_of(request, "train", recipe, place)
        trained = train(network, part, recipe, place, request["seed"], None if bar is None else watch)
        classes = classified(trained, part_of(request, "score", recipe, place), place)
        predictions = classes.cpu().numpy().astype(NUMBER).tobytes()
        inherited |= leaving(trained, request)
    except InvalidArchitecture as error:
        reason = str(error)
    except NonFiniteLoss as error:
        reason = f"{error}; propose an architecture with fewer summed paths or with normalisation on each of them"
    except Exception as error:  # a user's network may raise anything; it is the candidate that does not work
        text = " ".join(str(error).split())[:300]
        scarce = "allocate memory" in text or "out of memory" in text or "bad_alloc" in text
        if scarce or isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            cause, reason = "memory", "it ran out of memory; propose a smaller architecture"
        else:
            reason = f"its network raised {type(error).__name__}: {text}; propose one whose layers fit together"
    else:
        what = {"status": "predicted", "classes": predictions, "seconds": time.perf_counter() - start, **inherited}
        return trained, what if bar is None else {**what, "curve": curve}
    return None, {"status": "failed", "reason": reason, "cause": cause, "seconds": time.perf_counter() - start}


def begun(network: nn.Module, request: Json) -> Json:
    """Let a new network begin with what its parents have left, and say how much that is, where it may inherit."""
    from nas_agent.tools.evaluators.inheritance import take_over

    asked = request.get("inherit")
    return take_over(network, asked["files"], by_order=asked["by"] == "order") if asked else {}


def leaving(network: nn.Module, request: Json) -> Json:
    """Return the weights that children may inherit, where they are asked for and not too large."""
    from nas_agent.tools.evaluators.inheritance import left

    asked = request.get("inherit")
    weights = left(network) if asked and asked["leaves"] else b""
    return {LEFT: weights} if 0 < len(weights) <= MOST else {}


def scored(build: Callable[[], nn.Module], request: Json, place: Place) -> Json:
    """Score the untrained network by proxies, on the first training images: they hold the classes in proportion."""
    import numpy as np
    import torch

    from nas_agent.tools.evaluators.trainer import Part
    from nas_agent.tools.proxies.measures import measure

    start = time.perf_counter()
    pixels, labels = (np.load(request["train"][key], mmap_mode="r")[: request["images"]].copy() for key in LABELLED)
    scale = tuple(request["mean"]), tuple(request["spread"])
    part = Part(pixels, labels, *scale, place.device, resolution=request["resolution"])
    try:
        torch.manual_seed(request["seed"])
        network = build().to(place.device)
        scores = measure(network, part.scaled(part.pixels), part.labels, request["proxies"])
    except Exception as error:  # a user's network may raise anything; it is the candidate that does not work
        reason = f"its network raised {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return {"status": "failed", "reason": reason, "cause": "network", "seconds": time.perf_counter() - start}
    return {"status": "scored", "scores": scores, "seconds": time.perf_counter() - start}


def built(space: Space, architecture: Architecture, request: Json) -> nn.Module:
    """Build the network of the space's stand-alone file, which is what a run leaves, or else by the space itself.

    The file holds the canonical architecture: isomorphic ones are one network, and what is not live costs nothing.
    """
    sizes = {"classes": request["classes"], "in_channels": request["channels"], "width": request["width"]}
    text = space.module_source(architecture, classes=request["classes"])
    return stand_alone(text, sizes) if writes_network(text, sizes) else space.network(architecture, **sizes)


def writes_network(text: str, sizes: Iterable[str]) -> bool:
    """Tell whether a file defines a class `Network` that takes these sizes."""
    for part in ast.parse(text).body:
        if isinstance(part, ast.ClassDef) and part.name == "Network":
            makers = (m for m in part.body if isinstance(m, ast.FunctionDef) and m.name == "__init__")
            return any(set(sizes) <= {argument.arg for argument in maker.args.args} for maker in makers)
    return False


def stand_alone(text: str, sizes: dict[str, Any]) -> nn.Module:
    """Run a space's own file, and make its network."""
    scope: dict[str, Any] = {"__name__": "network"}
    exec(compile(text, "network.py", "exec"), scope)  # in a process that is made for it
    network: nn.Module = scope["Network"](**sizes)
    return network


def part_of(request: Json, name: str, recipe: Recipe, place: Place) -> Part:
    """Put the images of a request on the device: to train on, its share of them with labels, or to classify."""
    import numpy as np

    from nas_agent.tools.evaluators.trainer import Part

    training = name == "train"
    pixels = np.load(request[name]["pixels"])
    labels = np.load(request[name]["labels"]) if training else np.zeros(len(pixels), dtype=np.int64)  # not known here
    kept = max(recipe.batch, round(request["share"] * len(labels))) if training else len(labels)
    return Part(
        pixels[:kept],
        labels[:kept],
        tuple(request["mean"]),
        tuple(request["spread"]),
        place.device,
        resolution=request["resolution"],
        margin=recipe.shift if training else 0,
    )


def saved(network: nn.Module, request: Json) -> Json:
    """Write what is to be left of the network; say so where it cannot be written."""
    import numpy as np

    from nas_agent.tools.evaluators.artefacts import write_artefacts
    from nas_agent.tools.evaluators.trainer import Part

    pixels = np.load(request["score"]["pixels"], mmap_mode="r")[:SHOWN]
    scale = tuple(request["mean"]), tuple(request["spread"])
    some = Part(pixels.copy(), np.zeros(len(pixels), dtype=np.int64), *scale, "cpu", resolution=request["resolution"])
    try:
        return write_artefacts(network, Path(request["save"]), some.scaled(some.pixels))
    except OSError as error:
        return {"status": "unsaved", "reason": f"{request['save']}: {error.strerror or error}"}
