"""Writes omnivore.safetensors: what the official classes compute for a tiny network whose weights are by formula.

    git clone https://github.com/facebookresearch/omnivore      # commit 1d55abd; CC BY-NC 4.0, so no dependency
    python -m tests.systems.omnivore.make_omnivore PATH/TO/omnivore

The loader of checkpoints that the trunk's file imports is left out: it needs a package that nothing here runs. The key
layout of all six published sizes is held against `published_layout` on the way.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file
from torch import nn

from kinema.systems.omnivore.model import PRESETS, HeadConfig, OmnivoreConfig
from tests.codecs.formula import formula_weights, uniform
from tests.parity import shim_torchvision
from tests.systems.omnivore.layout import published_layout

FILE = Path(__file__).with_name("omnivore.safetensors")
TINY = OmnivoreConfig(
    dim=8,
    depths=(2, 2, 2),
    num_heads=(1, 2, 4),
    window=(4, 3, 3),
    heads=(
        HeadConfig(kind="image", classes=7),
        HeadConfig(kind="rgbd", classes=5),
        HeadConfig(kind="video", classes=6, dropout=0.5),
    ),
)
# name -> kind, shape: windows that are clamped in time, in space, not at all; sizes that nothing divides
INPUTS = {
    "image": ("image", (2, 3, 1, 40, 36)),
    "small image": ("image", (1, 3, 1, 8, 30)),
    "rgbd": ("rgbd", (2, 4, 1, 37, 50)),
    "video": ("video", (1, 3, 11, 29, 41)),
    "short video": ("video", (1, 3, 4, 24, 24)),
}


def official(path: Path) -> ModuleType:
    sys.path.insert(0, str(path))
    for name in (
        "omnivision",
        "omnivision.models",
    ):  # packages without their __init__, which imports everything
        package = ModuleType(name)
        package.__path__ = [str(path / name.replace(".", "/"))]
        sys.modules[name] = package
    loader = ModuleType("omnivision.utils.checkpoint")
    loader.load_and_broadcast_checkpoint_list = None
    sys.modules |= {"omnivision.utils": ModuleType("omnivision.utils"), "omnivision.utils.checkpoint": loader}
    warnings.simplefilter("ignore")
    shim_torchvision()
    from omnivore.models import omnivore_model

    return omnivore_model


def build(module: ModuleType, config: OmnivoreConfig) -> nn.Module:
    trunk = module.SwinTransformer3D(
        pretrained2d=False,
        patch_size=config.patch,
        embed_dim=config.dim,
        depths=list(config.depths),
        num_heads=list(config.num_heads),
        window_size=config.window,
        patch_norm=True,
        depth_mode="summed_rgb_d_tokens" if config.depth_input else None,
    )
    width = trunk.num_features
    heads = {
        head.kind: nn.Sequential(nn.Dropout(head.dropout), nn.Linear(width, head.classes))
        if head.dropout
        else nn.Linear(width, head.classes)
        for head in config.heads
    }
    return module.OmnivoreModel(trunk, nn.ModuleDict(heads) if len(heads) > 1 else heads["video"])


def main(path: Path) -> None:
    module = official(path)
    for name, config in PRESETS.items():
        if name != "nano":
            small = dataclasses.replace(config, dim=config.dim // 4)  # names do not depend on it
            state = build(module, small).state_dict()
            assert {key: tuple(value.shape) for key, value in state.items()} == published_layout(small), name
    network = build(module, TINY).eval()
    floats = {key: value for key, value in network.state_dict().items() if value.is_floating_point()}
    network.load_state_dict(
        formula_weights({key: value.shape for key, value in floats.items()}), strict=False
    )
    recorded = {}
    with torch.no_grad():
        for name, (kind, shape) in INPUTS.items():
            x = uniform(name, shape).float()
            recorded[f"{name}.features"] = network.trunk(x)
            recorded[f"{name}.logits"] = network(x, kind)
        stages = network.trunk(
            uniform("video", INPUTS["video"][1]).float(), ["interim0", "interim1", "stage1", "stage2"]
        )
        for name, value in zip(("interim0", "interim1", "stage1", "stage2"), stages, strict=True):
            recorded[f"video.{name}"] = value.contiguous()
    save_file(recorded, str(FILE))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
