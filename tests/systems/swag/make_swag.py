"""Writes swag.safetensors: what SWAG's official classes compute for tiny networks whose weights are by formula.

    git clone https://github.com/facebookresearch/SWAG      # commit 77b98f5; CC BY-NC 4.0, so no dependency
    python -m tests.systems.swag.make_swag PATH/TO/SWAG

The key layout of all published sizes is held against `published_layout` on the way.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from kinema.systems.swag.model import PRESETS, Config, RegNetConfig, ViTConfig, at
from tests.codecs.formula import formula_weights, uniform
from tests.systems.swag.layout import published_layout

FILE = Path(__file__).with_name("swag.safetensors")
TINY = {
    "regnet": RegNetConfig(depth=6, initial=16, slope=20.0, step=2.0, group_width=8, num_classes=9),
    "vit": ViTConfig(dim=16, depth=2, num_heads=4, patch=4, image_size=24, num_classes=9),
}
SHAPES = {"regnet": (2, 3, 45, 70), "vit": (2, 3, 24, 24), "larger vit": (2, 3, 36, 36)}


def tiny_weights(config: Config) -> dict[str, torch.Tensor]:
    """Of the official layout; variances are positive."""
    state = formula_weights(published_layout(config))
    for name, value in state.items():
        if name.endswith("running_var"):
            state[name] = 1.0 + 0.5 * value
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(3)
    return state


def build(config: Config) -> nn.Module:
    classes = config.num_classes or None
    if isinstance(config, RegNetConfig):
        regnet = importlib.import_module("models.regnet")
        return regnet.RegNet(
            regnet.RegNetParams(
                depth=config.depth,
                w_0=config.initial,
                w_a=config.slope,
                w_m=config.step,
                group_width=config.group_width,
                num_classes=classes,
            )
        )
    vit = importlib.import_module("models.vision_transformer")
    return vit.VisionTransformer(
        image_size=config.image_size,
        patch_size=config.patch,
        num_layers=config.depth,
        num_heads=config.num_heads,
        hidden_dim=config.dim,
        mlp_dim=4 * config.dim,
        num_classes=classes,
    )


def main(path: Path) -> None:
    sys.path.insert(0, str(path))
    for name, config in PRESETS.items():
        if not name.startswith("nano"):
            for classes in (0, 1000):
                with torch.device("meta"):
                    state = build(at(config, classes)).state_dict()
                shapes = {key: tuple(value.shape) for key, value in state.items()}
                assert shapes == published_layout(at(config, classes)), name
    recorded = {}
    with torch.no_grad():
        for name, config in TINY.items():
            network = build(config).eval()
            network.load_state_dict(tiny_weights(config))
            recorded[f"{name}.logits"] = network(uniform(name, SHAPES[name]).float())
            network.head = None
            recorded[f"{name}.trunk"] = network(uniform(name, SHAPES[name]).float())
        network = build(at(TINY["vit"], 9, 36)).eval()
        network.load_state_dict(tiny_weights(TINY["vit"]))  # resizes the positions
        recorded["larger vit.logits"] = network(uniform("larger vit", SHAPES["larger vit"]).float())
    save_file({name: value.contiguous() for name, value in recorded.items()}, str(FILE))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
