"""What is left of a trained network: weights, ONNX, and the proof that both give its logits. Runs where it was trained.

The folder already holds `model.py`, the stand-alone file with a function `load`. Logits of the file with the weights
that were read back must be those of the trained network bit for bit, on the CPU in float32; those of ONNX nearly.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_agent.records import Json

if TYPE_CHECKING:
    from torch import Tensor, nn

SOURCE, WEIGHTS, ONNX = "model.py", "model.safetensors", "model.onnx"
NEAR = 1e-3  # that logits of another runtime may differ, of numbers around 1 to 10
OPSET = 17


def write_artefacts(network: nn.Module, folder: Path, images: Tensor) -> Json:
    """Write them and compare on some scaled images (N, C, H, W); an OSError is the disk's."""
    import torch
    from safetensors.torch import save

    network, images = network.cpu().float().eval(), images.cpu().float()
    # Not by safetensors' own save_file: it renames over whatever is there, and a device is no longer one.
    (folder / WEIGHTS).write_bytes(save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}))
    with torch.inference_mode():
        logits = network(images)
        again = _loaded(folder)(images)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "same_logits": bool(torch.equal(logits, again)),
        "onnx": _exported(network, folder / ONNX, images, logits),
    }


def _loaded(folder: Path) -> nn.Module:
    """Import `model.py` and let it load its weights, as a user would."""
    spec = importlib.util.spec_from_file_location("exported_model", folder / SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = module.load()
    return network


def _exported(network: nn.Module, file: Path, images: Tensor, logits: Tensor) -> Json:
    """Write ONNX, for batches of any size; say why not where it cannot be done."""
    import torch

    if importlib.util.find_spec("onnx") is None:
        return {"written": False, "why": "the package 'onnx' is not installed; run: pip install 'nas-agent[onnx]'"}
    axes = {"images": {0: "batch"}, "logits": {0: "batch"}}
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"], "dynamic_axes": axes}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter that traces is not the default one, and tells so
            torch.onnx.export(network, (images,), str(file), dynamo=False, opset_version=OPSET, **names)
    except OSError:
        raise
    except Exception as error:  # the exporter passes on whatever the layers of any space raise
        return {"written": False, "why": f"torch cannot export it ({' '.join(str(error).split())[:200]})"}
    found, by = _run(file, images)
    return {"written": True, "checked_by": by, "difference": float((torch.from_numpy(found) - logits).abs().max())}


def _run(file: Path, images: Tensor) -> tuple[Any, str]:
    """Compute the logits by ONNX Runtime where it is installed, else by the reference of ONNX."""
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        found: Any = session.run(None, {"images": images.numpy()})
        return found[0], "onnxruntime"
    from onnx.reference import ReferenceEvaluator

    found = ReferenceEvaluator(str(file)).run(None, {"images": images.numpy()})
    return found[0], "onnx.reference"
