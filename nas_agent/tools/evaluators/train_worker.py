"""The child process that trains one architecture: one JSON request on stdin, its reply as the last line of stdout.

    python -m nas_agent.tools.evaluators.train_worker < request.json

It gets two sets of images, one to train on and one to score, and does not know whether the second is the validation
or the test part: during a search the test images never reach it. SGD with Nesterov momentum and a one-cycle learning
rate (Smith and Topin, 2018), one thread, so that the same seed gives the same value.

A first line {"status": "ready"} says that torch and the space could be loaded: what goes wrong later is the
architecture's doing. The last line is {"status": "measured", "value", "seconds"}, or {"status": "failed", "reason",
"seconds"} where the architecture is to blame, or {"status": "broken", "reason"} where the machine or the space is.

Each line of reply begins with the request's `nonce`. The reply goes to a duplicate of stdout that is made before the
space is loaded, and stdout itself then leads to stderr: what a candidate prints, from native code too, is no reply.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from nas_agent.errors import InvalidArchitecture, NasAgentError
from nas_agent.records import Json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas_agent.spaces.base import Space

BATCH = 64
PEAK_RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4


class NonFiniteLoss(ArithmeticError):
    """The loss became infinite or no number."""


def main() -> None:
    """Read the request, train, print the reply."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.read())
    nonce = request.pop("nonce")  # out of what the candidate's code is given
    if hasattr(signal, "alarm"):
        signal.alarm(int(request["limit"]) + 5)  # ends this process even where its parent was killed
    with replies, redirect_stdout(sys.stderr):  # a space's own prints must not reach the reply
        for reply in answers(request):
            replies.write(f"{nonce}{json.dumps(reply)}\n")
            replies.flush()


def answers(request: Json) -> Iterator[Json]:
    """Yield `ready` and then the outcome, or `broken` alone."""
    try:
        import torch

        from nas_agent.spaces import load_space

        torch.set_num_threads(1)
        space = load_space(request["space"])
    except (ImportError, OSError, NasAgentError) as error:
        yield {"status": "broken", "reason": f"{type(error).__name__}: {error}"}
        return
    yield {"status": "ready"}
    yield outcome(space, request)


def outcome(space: Space, request: Json) -> Json:
    """Train and score; whatever goes wrong here is the architecture's doing, and so data."""
    import torch

    start = time.perf_counter()
    try:
        architecture = space.parse(request["architecture"])
        torch.manual_seed(request["seed"])
        network = space.network(architecture, classes=request["classes"], in_channels=1, width=request["width"])
        value = train_and_score(network, request)
    except InvalidArchitecture as error:
        reason = str(error)
    except NonFiniteLoss as error:
        reason = f"{error}; propose an architecture with fewer summed paths or with normalisation on each of them"
    except MemoryError:
        reason = "it ran out of memory; propose a smaller architecture"
    except Exception as error:  # a user's network may raise anything; it is the candidate that does not work
        reason = _reason(error)
    else:
        return {"status": "measured", "value": value, "seconds": time.perf_counter() - start}
    return {"status": "failed", "reason": reason, "seconds": time.perf_counter() - start}


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    if "allocate memory" in text or "out of memory" in text:
        return "it ran out of memory; propose a smaller architecture"
    return f"its network raised {type(error).__name__}: {text}; propose one whose layers fit together"


def train_and_score(network: nn.Module, request: Json) -> float:
    """Train on the first set of images; return the percentage of the second that is classified rightly."""
    import torch
    from torch.nn.functional import cross_entropy

    images, labels = tensors(request["train"], request)  # (B, 1, 8, 8), (B,)
    steps = -(-len(images) // BATCH)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(parameters, lr=PEAK_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=request["epochs"] * steps)
    network.train()
    for epoch in range(request["epochs"]):
        for rows in torch.split(torch.randperm(len(images)), BATCH):
            loss = cross_entropy(network(images[rows]), labels[rows])
            if not torch.isfinite(loss):
                raise NonFiniteLoss(f"its training loss became {loss.item()} in epoch {epoch + 1}")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    network.eval()
    images, labels = tensors(request["score"], request)
    with torch.no_grad():
        logits = network(images)  # (B, classes)
    if not torch.isfinite(logits).all():
        raise NonFiniteLoss("its outputs became infinite after training")
    return 100.0 * float((logits.argmax(dim=1) == labels).double().mean())


def tensors(part: Any, request: Json) -> tuple[Tensor, Tensor]:
    """Decode the images of a request, scaled by the training part's statistics."""
    import numpy as np
    import torch

    labels = np.frombuffer(base64.b64decode(part["labels"]), dtype=np.uint8)
    pixels = np.frombuffer(base64.b64decode(part["pixels"]), dtype=np.uint8).reshape(len(labels), 1, 8, 8)
    scaled = (pixels.astype(np.float32) - request["mean"]) / request["spread"]
    return torch.from_numpy(scaled.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))


if __name__ == "__main__":
    main()
