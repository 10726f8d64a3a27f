"""SWAG's networks: RegNetY and vision transformers for hashtags, then for classes at a larger size (2201.08371)."""

# B batch, D width of features

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn.position_tables import GridPositions
from kinema.nn.regnet import RegNetY, regnet_stages
from kinema.nn.stems import PatchStem
from kinema.nn.vit import VisionTransformer, transformer_blocks
from kinema.settings import known_settings, named_preset, plain_settings

EPS: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class RegNetConfig:
    """The five numbers of a RegNetY, see `regnet_stages`. num_classes: outputs of the head, 0 for none."""

    depth: int
    initial: int
    slope: float
    step: float
    group_width: int
    stem: int = 32
    num_classes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RegNetConfig:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Sizes of a vision transformer with a class token. num_classes: outputs of the head, 0 for none."""

    dim: int
    depth: int
    num_heads: int
    patch: int
    image_size: int = 224
    num_classes: int = 0

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or self.image_size % self.patch:
            raise UserError(
                f"dim={self.dim} must be a multiple of num_heads={self.num_heads}, and image_size={self.image_size} "
                f"one of patch={self.patch}"
            )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time (one), rows and columns."""
        side = self.image_size // self.patch
        return 1, side, side

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ViTConfig:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))


Config = RegNetConfig | ViTConfig
PRESETS: Final[dict[str, Config]] = {
    "regnety_16gf": RegNetConfig(depth=18, initial=200, slope=106.23, step=2.48, group_width=112),
    "regnety_32gf": RegNetConfig(depth=20, initial=232, slope=115.89, step=2.53, group_width=232),
    "regnety_128gf": RegNetConfig(depth=27, initial=456, slope=160.83, step=2.52, group_width=264),
    "vit_b16": ViTConfig(dim=768, depth=12, num_heads=12, patch=16),
    "vit_l16": ViTConfig(dim=1024, depth=24, num_heads=16, patch=16),
    "vit_h14": ViTConfig(dim=1280, depth=32, num_heads=16, patch=14),
    "nano": RegNetConfig(depth=6, initial=24, slope=24.0, step=2.0, group_width=8, stem=16),
    "nano_vit": ViTConfig(dim=64, depth=6, num_heads=4, patch=4, image_size=32),
}


def preset(name: str) -> Config:
    """A published size, `regnety_16gf` to `vit_h14`, or `nano` and `nano_vit`; UserError for another."""
    return named_preset(PRESETS, name, "SWAG")


class RegNet(nn.Module):
    """A RegNetY with a linear head: normalised RGB (B, 3, H, W) to logits (B, classes), or features without a head."""

    def __init__(self, config: RegNetConfig) -> None:
        super().__init__()
        widths, depths = regnet_stages(
            config.depth, config.initial, config.slope, config.step, config.group_width
        )
        self.trunk = RegNetY(widths, depths, config.group_width, config.stem)
        self.dim = self.trunk.dim
        self.head = nn.Linear(self.dim, config.num_classes) if config.num_classes else None
        if self.head is not None and not self.head.weight.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """See `RegNetY.init_weights`; the head N(0, 0.01^2)."""
        self.trunk.init_weights()
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.zeros_(self.head.bias)

    def dense(self, x: Tensor) -> Tensor:
        """The map behind the last stage: (B, D, H/32, W/32)."""
        return self.trunk(x)

    def features(self, x: Tensor) -> Tensor:
        """Its mean over rows and columns: (B, D)."""
        return self.trunk.features(x)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return features if self.head is None else self.head(features)


Network = RegNet | VisionTransformer


def build(config: Config) -> Network:
    """The network of a config, its weights as SWAG starts them; without memory on the meta device."""
    if isinstance(config, RegNetConfig):
        return RegNet(config)
    network = VisionTransformer(
        PatchStem(config.dim, config.patch),
        GridPositions(config.dim, config.grid, prefix=1, resize="corners"),
        transformer_blocks(config.dim, config.depth, config.num_heads, eps=EPS),
        num_classes=config.num_classes,
        eps=EPS,
    )
    if not network.norm.weight.is_meta:
        init_vit(network)
    return network


@torch.no_grad()
def init_vit(network: VisionTransformer) -> None:
    """As SWAG starts it: patches N(0, 1/fan_in) cut at two, positions N(0, 0.02^2), class token and head zero."""
    network.init_weights()
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        elif isinstance(layer, nn.Linear) and ".mlp." in name:
            nn.init.normal_(layer.bias, std=1e-6)
    if network.class_token is not None:
        nn.init.zeros_(network.class_token)


@torch.no_grad()
def transfer(trained: Network, config: Config) -> Network:
    """A network for other classes, and of a transformer for another size, with the trunk of `trained`.

    Positions are resized bicubically through the corners of the grid. The head is new.

    Raises:
        UserError: `config` has another trunk.
    """
    network = build(config)
    state = {name: value for name, value in trained.state_dict().items() if not name.startswith("head.")}
    if isinstance(trained, VisionTransformer) and isinstance(config, ViTConfig):
        state["positions.table"] = trained.positions(config.grid)
    own = {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}
    if own.keys() != state.keys() or any(own[name].shape != state[name].shape for name in own):
        raise UserError("the trained network has another trunk than the new one: both need the same preset")
    for name, value in own.items():
        value.copy_(state[name])
    return network


def at(config: Config, num_classes: int, image_size: int | None = None) -> Config:
    """The same trunk with a head for so many classes; for a transformer also for pictures of another size."""
    if isinstance(config, ViTConfig) and image_size is not None:
        return dataclasses.replace(config, num_classes=num_classes, image_size=image_size)
    return dataclasses.replace(config, num_classes=num_classes)
