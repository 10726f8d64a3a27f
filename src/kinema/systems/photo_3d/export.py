"""The depth network as ONNX: a photo from 0 to 1 in, relative disparity out, in float or in its own eight bits.

from kinema.systems.photo_3d.depth_weights import load_depth
from kinema.systems.photo_3d.export import export_onnx

network, _ = load_depth("tiefenrausch.safetensors")
export_onnx(network, "tiefenrausch.onnx")
"""

# H W rows and columns, multiples of 32

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.media.files import write_bytes
from kinema.nn.mobile import Add, ConvNorm
from kinema.systems.photo_3d.depth_model import MULTIPLE, Tiefenrausch
from kinema.systems.photo_3d.export_bytes import Ranges, in_bytes
from kinema.systems.photo_3d.quantised import STEPS, scale_and_zero

OPSET: Final = 17
Arithmetic = Literal["float", "int8"]
FACTS: Final = {
    "model": "Tiefenrausch, One Shot 3D Photography (arXiv 2008.12298)",
    "input": "photo: float32 (1, 3, rows, columns), RGB from 0 to 1 (sRGB values over 255), no mean or deviation taken",
    "input_size": "multiples of 32, the photo averaged over areas; trained for {long_side} on the longer side",
    "output": "disparity: float32 (1, 1, rows, columns)",
    "output_kind": "relative_disparity",
    "output_sign": "large is near",
    "output_unit": "none: the scale is unknown",
}


class _Range(nn.Module):
    """A clamp whose limits are numbers in the graph."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


class _Disparity(nn.Module):
    """What is exported: the network, and the exponential that makes disparity of its logarithm."""

    def __init__(self, network: Tiefenrausch) -> None:
        super().__init__()
        self.network = network

    def forward(self, photo: Tensor) -> Tensor:
        return self.network(photo).exp()


def export_onnx(
    network: Tiefenrausch,
    path: str | Path,
    arithmetic: Arithmetic = "float",
    long_side: int = 384,
    overwrite: bool = False,
) -> None:
    """Write a network, its norms folded, as an ONNX file that says what goes in and what comes out.

    Ranges of activations, where the network has them, become clamps. With `int8` they become pairs of QuantizeLinear
    and DequantizeLinear, and weights are stored as bytes: a runtime then computes in eight bits. long_side: what the
    network was trained for, which is told in the file.

    Raises:
        UserError: the extra `export` is missing, the network has no ranges and `int8` was asked for, or the file
            cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            "writing ONNX needs the package onnx: install it with `pip install kinema[export]`"
        ) from error
    if network.config.norm != "bias":
        raise ValueError("fold the batch norms before exporting")
    if arithmetic == "int8" and network.input_quantiser is None:
        raise UserError("this network has no ranges for eight bits: export it as float")
    ranges: Ranges = {}
    plain = _with_numbers(network, ranges)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # what the exporter says of itself
        made = Path(folder) / "network.onnx"
        # The exporter of TorchScript: the newer one takes minutes for this many layers of unknown size.
        torch.onnx.export(
            _Disparity(plain).eval(),
            (torch.zeros(1, 3, MULTIPLE, 2 * MULTIPLE),),
            str(made),
            input_names=["photo"],
            output_names=["disparity"],
            dynamic_axes={name: {2: "rows", 3: "columns"} for name in ("photo", "disparity")},
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(str(made))
    if arithmetic == "int8":
        in_bytes(model, ranges)
    model.producer_name = "kinema"
    facts = {name: fact.format(long_side=long_side) for name, fact in FACTS.items()}
    onnx.helper.set_model_props(model, {**facts, "arithmetic": arithmetic})
    onnx.checker.check_model(model)
    write_bytes(Path(path), model.SerializeToString(), overwrite)


def _with_numbers(network: Tiefenrausch, ranges: Ranges) -> Tiefenrausch:
    """A copy in which every range is a clamp by numbers; their scales and zero points go into `ranges`."""
    plain = copy.deepcopy(network).float().cpu().eval()

    def numbers(quantiser: Any) -> nn.Module | None:
        if quantiser is None or quantiser.mode == "off":
            return None
        scale, zero = (value.float() for value in scale_and_zero(quantiser.low, quantiser.high))
        low, high = float(-zero * scale), float((STEPS - zero) * scale)
        ranges[float(np.float32(low)), float(np.float32(high))] = float(scale), int(zero)
        return _Range(low, high)

    plain.input_quantiser = numbers(plain.input_quantiser)
    for layer in plain.modules():
        if isinstance(layer, ConvNorm | Add):
            layer.quantiser = numbers(layer.quantiser)
    return plain
