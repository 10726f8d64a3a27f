"""A graph with clamps into one with eight bits: pairs of QuantizeLinear and DequantizeLinear, weights as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

TOLERANCE = 0.01  # of a step, by which floats miss the steps that they were rounded to
Ranges = dict[
    tuple[float, float], tuple[float, int]
]  # limits of a clamp -> scale and zero point of its 256 values


def in_bytes(model: Any, ranges: Ranges) -> None:
    """Change the graph in place. Every convolution in it ends in a clamp, with a rectifier between or not.

    A weight takes the 256 values that it was rounded to, or those between its smallest and its largest. They are stored
    from -128 on, as processors multiply them fastest; a bias has the scale of its products.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    nodes, steps = list[Any](), dict[str, tuple[float, int]]()

    def store(name: str, values: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def pair(name: str, scale: float, zero: int) -> list[str]:
        return [store(f"{name}_scale", np.float32(scale)), store(f"{name}_zero", np.uint8(zero))]

    def rounded(given: str, name: str, scale: float, zero: int) -> None:
        how = pair(name, scale, zero)
        nodes.append(helper.make_node("QuantizeLinear", [given, *how], [f"{name}_bytes"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_bytes", *how], [name]))
        steps[name] = scale, zero

    for node in list(graph.node):
        if node.op_type == "Clip":
            low, high = (float(np.float32(constants[name])) for name in node.input[1:3])
            rounded(node.input[0], node.output[0], *ranges[low, high])
        elif node.op_type == "Resize":  # copies values: the same 256
            name = node.output[0]
            node.output[0] = f"{name}_floats"
            nodes.append(node)
            rounded(f"{name}_floats", name, *steps[node.input[0]])
        elif node.op_type == "Conv":
            weight = constants[node.input[1]]
            scale, zero = _scale_and_zero(weight)
            values = np.clip(np.rint(weight / np.float32(scale)) + zero, 0, 255) - 128
            name = f"{node.output[0]}_weight"
            how = [store(f"{name}_scale", np.float32(scale)), store(f"{name}_zero", np.int8(zero - 128))]
            stored = store(f"{name}_bytes", values.astype(np.int8))
            nodes.append(helper.make_node("DequantizeLinear", [stored, *how], [name]))
            node.input[1] = name
            if len(node.input) > 2 and node.input[2]:
                name = f"{node.output[0]}_bias"
                step = np.float32(steps[node.input[0]][0]) * np.float32(scale)
                values = np.rint(constants[node.input[2]].astype(np.float64) / step).astype(np.int32)
                how = [store(f"{name}_scale", step), store(f"{name}_zero", np.int32(0))]
                stored = store(f"{name}_whole", values)
                nodes.append(helper.make_node("DequantizeLinear", [stored, *how], [name]))
                node.input[2] = name
            nodes.append(node)
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(node for node in nodes if node.op_type != "Constant" or node.output[0] in used)
    graph.initializer.extend(kept)


def _scale_and_zero(weight: np.ndarray) -> tuple[float, int]:
    """The steps that a weight was rounded to, found again: its extremes and 0 lie on them, a whole number apart."""
    low, high = min(float(weight.min()), 0.0), max(float(weight.max()), 0.0)
    values = np.unique(weight).astype(np.float64)
    scale = max((high - low) / 255, 1e-9)
    for steps in range(1, 255):
        wider = (high - low) / steps
        if wider > scale and np.abs(values / wider - np.rint(values / wider)).max() < TOLERANCE:
            scale = wider
            break
    return scale, int(np.clip(np.rint(-low / scale), 0, 255))
