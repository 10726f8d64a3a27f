"""Forward and training step of the windowed transformer and of RegNetY beside torchvision with equal weights.

    python benchmarks/windows_and_regnet.py [--cases swin_image regnety_16gf] [--repeats 5] [--threads 1] [--out FILE]

Both run eagerly in float32 in one process, in turns. Seconds are the processor's, of all threads, medians of the turns,
so that another program on the machine disturbs them little; the ratio is torchvision's over ours (above 1 is faster
than torchvision). "Features" is the pooled vector. A training step is forward, backward and AdamW.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vision_transformer import training_step

from kinema.nn.regnet import RegNetY, regnet_stages
from kinema.systems.omnivore.model import OmnivoreConfig
from kinema.systems.swag.model import RegNetConfig, preset
from tests.nn import test_regnet, test_swin3d
from tests.parity import shim_torchvision

from measuring import machine, turns

SIZE = 224
SMALL = RegNetConfig(depth=27, initial=48, slope=20.71, step=2.65, group_width=24)  # RegNetY-1.6GF


class Pooled(nn.Module):
    """A RegNetY whose call is its features."""

    def __init__(self, numbers: RegNetConfig) -> None:
        super().__init__()
        widths, depths = regnet_stages(
            numbers.depth, numbers.initial, numbers.slope, numbers.step, numbers.group_width
        )
        self.trunk = RegNetY(widths, depths, numbers.group_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk.features(x)


def regnets(numbers: RegNetConfig) -> tuple[nn.Module, nn.Module]:
    """Ours and torchvision's, the same network."""
    from torchvision.models.regnet import BlockParams, RegNet

    params = BlockParams.from_init_params(
        depth=numbers.depth,
        w_0=numbers.initial,
        w_a=numbers.slope,
        w_m=numbers.step,
        group_width=numbers.group_width,
        se_ratio=0.25,
    )
    theirs, ours = RegNet(params), Pooled(numbers)
    theirs.fc = nn.Identity()
    ours.trunk.load_state_dict(test_regnet.from_torchvision(theirs.state_dict()))
    return ours, theirs


def swins(preset: str) -> tuple[nn.Module, nn.Module]:
    """Ours and torchvision's, the same network, patches embedded."""
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    size = OmnivoreConfig.preset(preset)
    theirs = SwinTransformer3d(
        patch_size=list(size.patch),
        embed_dim=size.dim,
        depths=list(size.depths),
        num_heads=list(size.num_heads),
        window_size=list(size.window),
        stochastic_depth_prob=0.0,
    )
    theirs.head = nn.Identity()
    ours = test_swin3d.Whole(
        size.patch, dim=size.dim, depths=size.depths, num_heads=size.num_heads, window=size.window
    )
    ours.load_state_dict(test_swin3d.from_torchvision(theirs.state_dict()))
    return ours, theirs


# name -> pair of networks, shape of the batch
CASES: dict[str, tuple[Callable[[], tuple[nn.Module, nn.Module]], tuple[int, ...]]] = {
    "swin_image": (lambda: swins("swin_t"), (4, 3, 1, SIZE, SIZE)),
    "swin_clip": (lambda: swins("swin_t"), (1, 3, 16, SIZE, SIZE)),
    "swin_nano_clips": (lambda: swins("nano"), (16, 3, 8, 64, 64)),
    "regnety_1_6gf": (lambda: regnets(SMALL), (2, 3, SIZE, SIZE)),
    "regnety_16gf": (lambda: regnets(regnet_of("regnety_16gf")), (1, 3, SIZE, SIZE)),
}


def regnet_of(name: str) -> RegNetConfig:
    """A published size of SWAG's."""
    found = preset(name)
    assert isinstance(found, RegNetConfig)
    return found


def measured(name: str, repeats: int) -> dict[str, Any]:
    """Seconds of both for the pooled vector and for a training step."""
    build, shape = CASES[name]
    ours, theirs = (network.eval() for network in build())
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first, second = ours(x), theirs(x)
        difference = float((first - second).abs().max() / second.abs().max())
        features = turns(
            {"ours": lambda: ours(x), "torchvision": lambda: theirs(x)}, repeats, time.process_time
        )
    steps = turns(
        {"ours": training_step(ours.train(), x), "torchvision": training_step(theirs.train(), x)},
        repeats,
        time.process_time,
    )
    return {
        "batch": list(shape),
        "relative_difference": difference,
        "features": {**features, "ratio": features["torchvision"] / features["ours"]},
        "training_step": {**steps, "ratio": steps["torchvision"] / steps["ours"]},
    }


def main() -> None:
    """Measure what the command line asks for, print it as JSON, and keep it with --out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    shim_torchvision()
    report: dict[str, Any] = {
        "machine": machine(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "threads": given.threads,
    }
    for name in given.cases:
        report[name] = measured(name, given.repeats)
        print(name, json.dumps(report[name]), file=sys.stderr)
    text = json.dumps(report, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
