"""The released Tiefenrausch, two Caffe2 protobufs, into kinema's own file.

    python -m kinema.systems.photo_3d.converter FOLDER OUT.safetensors

Strict: every operator of the graph must be the one that the network has at its place, with its stride, groups and
inputs; every weight must be used. The range of every activation comes along: without them the weights are worth little.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn.mobile import Add, ConvNorm
from kinema.systems.photo_3d.caffe2 import Net, Operator, read_net
from kinema.systems.photo_3d.depth_model import LEVELS, Tiefenrausch, TiefenrauschConfig
from kinema.systems.photo_3d.depth_weights import save_depth
from kinema.systems.photo_3d.quantised import ActivationQuantiser, add_quantisers, set_mode

GRAPH, WEIGHTS = "tiefenrausch.pb", "tiefenrausch_init.pb"
FAMILIES: Final = ("encoder", "skip", "decoder")
_STAGE: Final = re.compile(r"1\.stages\.([012])\.([0-5])\.xif\d+_(\d+)\.(pw|dw|pwl)\.conv\.weight_int8")
_END: Final = re.compile(r"1\.(first|last)\.conv\.weight_int8")

Scales = dict[str, tuple[float, int]]  # name of a weight -> scale and zero point


def module_name(weight: str) -> str:
    """The official name of a weight -> the name of our convolution: `encoder.3.0.pw`, `first`."""
    if end := _END.fullmatch(weight):
        return end[1]
    if stage := _STAGE.fullmatch(weight):
        return f"{FAMILIES[int(stage[1])]}.{stage[2]}.{stage[3]}.{stage[4]}"
    raise UserError(f"the Caffe2 graph uses a weight '{weight}' that Tiefenrausch does not have")


def dataflow(network: Tiefenrausch) -> dict[str, tuple[str, ...]]:
    """Name of every convolution and addition -> the names of those whose results it reads."""
    flow: dict[str, tuple[str, ...]] = {"first": ("input",)}

    def stage(family: str, level: int, source: str) -> str:
        blocks: Any = getattr(network, family)[str(level)]
        for number, block in enumerate(blocks):
            name = f"{family}.{level}.{number}"
            flow[f"{name}.pw"] = (source,)
            flow[f"{name}.dw"] = (f"{name}.pw",)
            flow[f"{name}.pwl"] = (f"{name}.dw",)
            if block.add is not None:
                flow[f"{name}.add"] = (source, f"{name}.pwl")
            source = f"{name}.{'pwl' if block.add is None else 'add'}"
        return source

    features = ["first"]
    for level in range(1, LEVELS + 1):
        features.append(stage("encoder", level, features[-1]))
    y = stage("skip", LEVELS, features[LEVELS])
    for level in range(LEVELS, 0, -1):
        across = stage("skip", level - 1, features[level - 1])
        flow[f"joins.{level - 1}"] = (stage("decoder", level, y), across)
        y = f"joins.{level - 1}"
    flow["last"] = (y,)
    return flow


def convert(folder: str | Path) -> tuple[Tiefenrausch, Scales]:
    """The released network in eval mode and int8 arithmetic, and the scales of its weights.

    folder: holds `tiefenrausch.pb` and `tiefenrausch_init.pb`.

    Raises:
        UserError: a file is missing, damaged, or of another network.
    """
    folder = Path(folder)
    graph, filled = read_net(folder / GRAPH), read_net(folder / WEIGHTS)
    network = add_quantisers(Tiefenrausch(TiefenrauschConfig(norm="bias")))
    scales = _fill(network, graph, _tensors(filled))
    set_mode(network, "round")
    return network.eval(), scales


class _Given:
    """A tensor of the file: 256 or more values, their scale and zero point."""

    def __init__(self, operator: Operator) -> None:
        name = operator.outputs[0] if operator.outputs else "?"
        shape, values = operator.arguments.get("shape"), operator.arguments.get("values")
        if not isinstance(shape, tuple) or not all(type(n) is int and 0 < n < 2**20 for n in shape):
            raise UserError(f"the weight '{name}' of the Caffe2 file has no sound shape: download it again")
        numbers: npt.NDArray[Any]
        if operator.type == "Int8GivenTensorFill" and isinstance(values, bytes):
            numbers = np.frombuffer(values, np.uint8)
        elif operator.type == "Int8GivenIntTensorFill" and isinstance(values, tuple):
            numbers = np.array(values, np.float64)
        else:
            raise UserError(f"the Caffe2 file fills '{name}' by {operator.type}, which is none of its kinds")
        if numbers.size != np.prod(shape, dtype=np.float64):
            raise UserError(
                f"the weight '{name}' of the Caffe2 file has {numbers.size} values and the shape {shape}: download "
                "it again"
            )
        self.name, self.numbers = name, numbers.reshape([int(n) for n in shape])
        self.scale, self.zero = _range(operator)

    def real(self) -> Tensor:
        """The values that the integers stand for, float32."""
        return torch.from_numpy(
            ((self.numbers.astype(np.float64) - self.zero) * self.scale).astype(np.float32)
        )


def _tensors(net: Net) -> dict[str, _Given]:
    given = [_Given(operator) for operator in net.operators]
    return {tensor.name: tensor for tensor in given}


def _range(operator: Operator) -> tuple[float, int]:
    scale, zero = operator.arguments.get("Y_scale"), operator.arguments.get("Y_zero_point")
    if (
        not isinstance(scale, float)
        or not 0 < scale < 1e6
        or not isinstance(zero, int)
        or not 0 <= zero < 256
    ):
        raise UserError(f"the Caffe2 file has no sound scale for '{operator.outputs}': download it again")
    return scale, zero


@torch.no_grad()
def _fill(network: Tiefenrausch, graph: Net, given: dict[str, _Given]) -> Scales:
    """Walk the graph beside the network's own data flow; every step must agree."""
    flow = dataflow(network)
    scales: Scales = {}
    sums = {frozenset(flow[name]): name for name in flow if len(flow[name]) == 2}
    held = {graph.inputs[0]: "picture"} if graph.inputs else {}  # blob -> what of ours it holds
    done: list[str] = []
    used: set[str] = set()
    doubled: set[str] = set()
    for operator in graph.operators:
        sources = [held.get(blob, f"?{blob}") for blob in operator.inputs]
        target, source = (operator.outputs or ("",))[0], (sources or ["nothing"])[0]
        if operator.type == "NCHW2NHWC":
            held[target] = source
        elif operator.type == "Int8Quantize" and source == "picture":
            held[target] = "input"
            _set(network.input_quantiser, operator)
        elif operator.type == "Int8Conv" and len(operator.inputs) == 3:
            name = module_name(operator.inputs[1])
            if flow.get(name) != (source,) or name in done:
                raise _other(f"'{name}' reads from {source}")
            layer = network.get_submodule(name)
            assert isinstance(layer, ConvNorm)
            scales[f"{name}.conv.weight"] = _fill_conv(name, layer, operator, given)
            used.update(operator.inputs[1:])
            _set(layer.quantiser, operator)
            held[target] = name
            done.append(name)
        elif operator.type == "Int8ResizeNearest":
            factors = [operator.arguments.get(f"{side}_scale") for side in ("width", "height")]
            if factors != [2.0, 2.0] or not source.endswith("0.pw") or not source.startswith("decoder"):
                raise _other(f"'{source}' is resized by {factors}")
            held[target] = source
            doubled.add(source)
        elif operator.type == "Int8Add" and (name := sums.get(frozenset(sources), "")) and name not in done:
            layer = network.get_submodule(name)
            assert isinstance(layer, Add)
            _set(layer.quantiser, operator)
            held[target] = name
            done.append(name)
        elif operator.type == "Int8Dequantize" and source == "last":
            held[target] = "output"
        else:
            raise _other(f"it has {operator.type} of {', '.join(sources)}")
    wanted = {f"decoder.{level}.0.pw" for level in range(1, LEVELS + 1)}
    if (
        set(done) != set(flow)
        or doubled != wanted
        or [held.get(name) for name in graph.outputs] != ["output"]
    ):
        raise _other(
            f"{len(done)} of {len(flow)} steps are there, and {len(doubled)} of {LEVELS} upsamplings"
        )
    if left := sorted(given.keys() - used):
        raise _other(f"{len(left)} weights are not used, such as '{left[0]}'")
    return scales


def _fill_conv(name: str, layer: ConvNorm, operator: Operator, given: dict[str, _Given]) -> tuple[float, int]:
    conv = layer.conv
    (size, _), (stride, _), pad = conv.kernel_size, conv.stride, conv.kernel_size[0] // 2
    wanted: dict[str, Any] = {"kernels": (size, size), "strides": (stride, stride), "pads": (pad,) * 4}
    wanted |= {"group": conv.groups, "dilations": (1, 1), "order": b"NHWC"}
    for key, value in wanted.items():
        if operator.arguments.get(key, value) != value:
            raise _other(f"'{name}' has {key} {operator.arguments[key]!r} and not {value!r}")
    if missing := [blob for blob in operator.inputs[1:] if blob not in given]:
        raise _other(f"its weight '{missing[0]}' is not in {WEIGHTS}")
    weight, bias = (given[blob] for blob in operator.inputs[1:])
    channels, per_group, rows, columns = conv.weight.shape
    if weight.numbers.shape != (channels, rows, columns, per_group) or bias.numbers.shape != (channels,):
        raise _other(f"'{name}' has weights of {weight.numbers.shape} and a bias of {bias.numbers.shape}")
    conv.weight.copy_(weight.real().permute(0, 3, 1, 2))  # (out, rows, columns, in / groups) -> ours
    if conv.bias is not None:
        conv.bias.copy_(bias.real())
    elif bias.numbers.any():
        raise _other(f"'{name}' has a bias, and ours has none")
    return weight.scale, weight.zero


def _set(quantiser: nn.Module | None, operator: Operator) -> None:
    assert isinstance(quantiser, ActivationQuantiser)
    quantiser.set(*_range(operator))


def _other(what: str) -> UserError:
    return UserError(
        f"the Caffe2 graph is not that of Tiefenrausch: {what}; use the released files as they are"
    )


def main(arguments: Sequence[str]) -> int:
    """The command line of this file."""
    try:
        if len(arguments) != 2 or not arguments[1].endswith(".safetensors"):
            raise UserError("usage: python -m kinema.systems.photo_3d.converter FOLDER OUT.safetensors")
        if Path(arguments[1]).exists():
            raise UserError(f"'{arguments[1]}' exists already: choose another name")
        network, scales = convert(arguments[0])
        save_depth(
            network, arguments[1], "uint8", scales, source="facebookresearch/one_shot_3d_photography, MIT"
        )
    except UserError as error:
        sys.stderr.write(f"kinema: {error}\n")
        return 2
    sys.stdout.write(f"wrote {arguments[1]}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
