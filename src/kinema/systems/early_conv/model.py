"""ViT_P and ViT_C (2106.14881, section 4): the same transformer behind patches, or behind small convolutions.

ViT_C has a block fewer, so that both cost the same. Sizes are named by their multiply-adds: 1, 4, 18 and 36 billion,
and the two that the appendices add.
"""

# B batch, H W rows and columns, D width

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import nn

from kinema.errors import UserError
from kinema.nn import Block, ConvStem, GridPositions, PatchStem, VisionTransformer, transformer_blocks
from kinema.nn.mobile import ConvNorm
from kinema.settings import known_settings, named_preset, plain_settings


@dataclass(frozen=True, kw_only=True)
class EarlyConvConfig:
    """Sizes of a ViT_P or ViT_C.

    widths, strides: of the 3x3 convolutions; empty for the patchify stem. What is left of `patch` after the strides is
    the kernel and stride of the last convolution: 1 in ViT_C, 2 to 16 in the stem ablation (its stems S1 to S4).
    between: what follows each 3x3 convolution; `nothing` is the control that leaves a linear stem.
    eps: of the layer norms; 1e-5 as in the paper's code, 1e-6 as in torchvision's.
    """

    dim: int
    depth: int
    num_heads: int
    mlp_ratio: int = 4
    widths: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    between: Literal["norm and relu", "nothing"] = "norm and relu"
    patch: int = 16
    image_size: int = 224
    num_classes: int = 1000
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("widths", "strides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        if len(self.widths) != len(self.strides) or self.patch % math.prod(self.strides):
            raise UserError(
                f"strides={self.strides} must be one for each of widths={self.widths}, and their product must divide "
                f"patch={self.patch}"
            )
        if self.dim % self.num_heads or self.image_size % self.patch:
            raise UserError(
                f"dim={self.dim} must be a multiple of num_heads={self.num_heads}, and image_size={self.image_size} "
                f"one of patch={self.patch}"
            )

    @classmethod
    def preset(cls, name: str) -> EarlyConvConfig:
        """`vit_p_18gf`, `vit_c_18gf` and the like, or `nano_p` and `nano_c`."""
        return named_preset(PRESETS, name, "Early Convolutions")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EarlyConvConfig:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))


_SMALL = (2, 2, 2, 2)  # strides of the stems of 1GF and 4GF
_LARGE_WIDTHS, _LARGE = (64, 128, 128, 256, 256, 512), (2, 2, 1, 2, 1, 2)
_1GF: Final = {"dim": 192, "num_heads": 3, "mlp_ratio": 3}
_4GF: Final = {"dim": 384, "num_heads": 6, "mlp_ratio": 3}
_18GF: Final = {"dim": 768, "num_heads": 12}
_36GF: Final = {"dim": 1024, "num_heads": 16}
_72GF: Final = {"dim": 1152, "num_heads": 18}
_C1: Final = {"widths": (24, 48, 96, 192), "strides": _SMALL}
_C4: Final = {"widths": (48, 96, 192, 384), "strides": _SMALL}
_C18: Final = {"widths": _LARGE_WIDTHS, "strides": _LARGE}
_NANO: Final = {"dim": 96, "num_heads": 4, "mlp_ratio": 3, "patch": 8, "image_size": 64, "num_classes": 22}

_SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "vit_p_1gf": {**_1GF, "depth": 12},
    "vit_c_1gf": {**_1GF, "depth": 11, **_C1},
    "vit_p_4gf": {**_4GF, "depth": 12},
    "vit_c_4gf": {**_4GF, "depth": 11, **_C4},
    "vit_p_16gf": {**_4GF, "depth": 48},
    "vit_c_16gf": {**_4GF, "depth": 47, **_C4},
    "vit_p_18gf": {**_18GF, "depth": 12},
    "vit_c_18gf": {**_18GF, "depth": 11, **_C18},
    "vit_p_36gf": {**_36GF, "depth": 14},
    "vit_c_36gf": {**_36GF, "depth": 13, **_C18},
    "vit_p_72gf": {**_72GF, "depth": 22},
    "vit_c_72gf": {**_72GF, "depth": 22, **_C18},
    "nano_p": {**_NANO, "depth": 5},
    "nano_c": {**_NANO, "depth": 4, "widths": (24, 48, 96), "strides": (2, 2, 2)},
}
PRESETS: Final = {name: EarlyConvConfig(**settings) for name, settings in _SETTINGS.items()}


def build(config: EarlyConvConfig) -> VisionTransformer:
    """The network: images (B, 3, H, W), normalised, to logits (B, classes). The class token is what is classified."""
    side = config.image_size // config.patch
    network = VisionTransformer(
        _stem(config),
        GridPositions(config.dim, (1, side, side), prefix=1),
        transformer_blocks(
            config.dim,
            config.depth,
            config.num_heads,
            mlp_dim=config.mlp_ratio * config.dim,
            eps=config.eps,
        ),
        num_classes=config.num_classes,
        eps=config.eps,
    )
    if not network.norm.weight.is_meta:
        init_weights(network)
    return network


def _stem(config: EarlyConvConfig) -> PatchStem | ConvStem:
    if not config.widths:
        return PatchStem(config.dim, config.patch)
    full = config.between == "norm and relu"
    return ConvStem(
        config.dim,
        config.widths,
        config.strides,
        patch=config.patch // math.prod(config.strides),
        norm=full,
        activation=nn.ReLU if full else None,
    )


@torch.no_grad()
def init_weights(network: VisionTransformer) -> None:
    """Start as the paper's code does: the head at zero, the stem by its fan, MLP and attention Xavier-uniform."""
    network.init_weights()
    assert network.class_token is not None
    nn.init.zeros_(network.class_token)
    stem = network.stem
    if isinstance(stem, PatchStem):
        nn.init.trunc_normal_(stem.proj.weight, std=stem.proj.weight[0].numel() ** -0.5)
    elif isinstance(stem, ConvStem):
        for layer in stem.layers:
            assert isinstance(layer, ConvNorm)
            nn.init.normal_(layer.conv.weight, std=(2 / len(layer.conv.weight)) ** 0.5)
        # One tap has the paper's N(0, 1/out); a larger last patch shares it between its taps.
        taps = stem.last.weight[0, 0].numel()
        nn.init.normal_(stem.last.weight, std=(len(stem.last.weight) * taps) ** -0.5)
    for block in network.blocks:
        assert isinstance(block, Block)
        nn.init.kaiming_uniform_(block.attention.out.weight, a=5**0.5)
        for linear in (block.mlp.up, block.mlp.down):
            nn.init.normal_(linear.bias, std=1e-6)
