"""OmniMAE's networks: one encoder for images and clips, a decoder for both, and classifiers (2206.08356, section 3).

Images (B, 3, H, W) and clips (B, 3, T, H, W) go through the same patches of two frames; an image stands still for them.
There is no class token; positions are sinusoids of the place in the flattened grid, and an image has those of the first
two frames.
"""

# B batch, T frames, H W rows and columns, D width

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from kinema.errors import UserError
from kinema.nn import (
    Grid,
    GridPositions,
    MaskedAutoencoder,
    PixelDecoder,
    TubeStem,
    VisionTransformer,
    transformer_blocks,
)
from kinema.settings import known_settings, named_preset, plain_settings


@dataclass(frozen=True, kw_only=True)
class OmniMAEConfig:
    """Sizes of the encoder, and of the decoder that it is trained with.

    patch: frames, rows and columns. frames, image_size: of the clips that it is trained on.
    decoder_bias: whether the decoder's queries, keys and values have biases: not in the released files, though the
    published settings of training ask for them.
    """

    dim: int
    depth: int
    num_heads: int
    decoder_dim: int
    decoder_depth: int
    decoder_heads: int = 16
    patch: Grid = (2, 16, 16)
    frames: int = 16
    image_size: int = 224
    decoder_bias: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # JSON gives lists
        if (
            len(self.patch) != 3
            or self.frames % self.patch[0]
            or any(self.image_size % p for p in self.patch[1:])
        ):
            raise UserError(
                f"patch={self.patch} must divide frames={self.frames} and image_size={self.image_size} twice"
            )
        for width, heads in ((self.dim, self.num_heads), (self.decoder_dim, self.decoder_heads)):
            if width % heads or width % 2:
                raise UserError(f"a width of {width} must be a multiple of its {heads} heads, and even")

    @property
    def grid(self) -> Grid:
        """Tokens of a clip along time, rows and columns; an image has the rows and columns of one step of time."""
        frames, rows, columns = self.patch
        return self.frames // frames, self.image_size // rows, self.image_size // columns

    @property
    def outputs(self) -> int:
        """Numbers that the decoder predicts for a patch."""
        return 3 * math.prod(self.patch)

    @classmethod
    def preset(cls, name: str) -> OmniMAEConfig:
        """`vit_b`, `vit_l`, `vit_h` or `nano`."""
        return named_preset(PRESETS, name, "OmniMAE")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OmniMAEConfig:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))


PRESETS: Final = {
    "vit_b": OmniMAEConfig(dim=768, depth=12, num_heads=12, decoder_dim=384, decoder_depth=4),
    "vit_l": OmniMAEConfig(dim=1024, depth=24, num_heads=16, decoder_dim=512, decoder_depth=4),
    "vit_h": OmniMAEConfig(
        dim=1280, depth=32, num_heads=16, decoder_dim=512, decoder_depth=8, patch=(2, 14, 14)
    ),
    "nano": OmniMAEConfig(
        dim=96, depth=4, num_heads=4, decoder_dim=64, decoder_depth=2, decoder_heads=4, patch=(2, 8, 8), frames=8,
        image_size=64,
    ),
}  # fmt: skip


def autoencoder(config: OmniMAEConfig) -> MaskedAutoencoder:
    """What is pre-trained. Mask token and positions of the decoder have the encoder's width, before its projection."""
    encoder = classifier(config, 0, drop_path=0.0)
    decoder = PixelDecoder(
        config.dim,
        config.decoder_dim,
        GridPositions(config.dim, config.grid, kind="line", resize="plain"),
        transformer_blocks(
            config.decoder_dim, config.decoder_depth, config.decoder_heads, qkv_bias=config.decoder_bias
        ),
        config.outputs,
    )
    model = MaskedAutoencoder(encoder, decoder)
    if not decoder.mask_token.is_meta:
        init_weights(model)
    return model


def init_weights(model: MaskedAutoencoder) -> None:
    """Xavier-uniform matrices, the mask token at zero, the pixels' head by a truncated normal of 0.02."""
    model.init_weights()
    nn.init.zeros_(model.decoder.mask_token)
    nn.init.trunc_normal_(model.decoder.pixels.weight, std=0.02)


def classifier(config: OmniMAEConfig, num_classes: int, drop_path: float = 0.1) -> VisionTransformer:
    """For finetuning, and without classes the encoder: all tokens averaged, then normed, then the linear head."""
    return VisionTransformer(
        TubeStem(config.dim, config.patch),
        GridPositions(config.dim, config.grid, kind="line", resize="plain"),
        transformer_blocks(config.dim, config.depth, config.num_heads, drop_path=drop_path),
        pool="mean",
        num_classes=num_classes,
    )


@torch.no_grad()
def finetuned_from(model: MaskedAutoencoder, config: OmniMAEConfig, num_classes: int) -> VisionTransformer:
    """A classifier that starts from a pre-trained encoder; its final norm and head start anew, as the paper has it."""
    network = classifier(config, num_classes)
    kept = {name: v for name, v in model.encoder.state_dict().items() if not name.startswith("norm.")}
    try:
        left = network.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise UserError(
            "the encoder does not fit these settings: both need the same width, depth and patch"
        ) from error
    strange = [n for n in (*left.missing_keys, *left.unexpected_keys) if not n.startswith(("norm.", "head."))]
    if strange:
        raise UserError(f"the encoder does not fit these settings: '{strange[0]}' is in one of them alone")
    if num_classes:
        assert network.head is not None
        nn.init.trunc_normal_(network.head.weight, std=2e-5)
    return network
