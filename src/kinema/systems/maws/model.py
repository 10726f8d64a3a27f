"""The plain vision transformers of MAWS, from 86 million parameters to 6.5 billion, in their three stages (2303.13496).

`autoencoder` is what the first stage trains; `transfer` carries its encoder into the tagger of the second, and that
one's trunk into a classifier at another size for the third.
"""

# B batch, D width

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch

from kinema.errors import UserError
from kinema.nn import (
    GridPositions,
    MaskedAutoencoder,
    PatchStem,
    PixelDecoder,
    VisionTransformer,
    transformer_blocks,
)
from kinema.settings import known_settings, named_preset, plain_settings


@dataclass(frozen=True, kw_only=True)
class MawsConfig:
    """Sizes of an encoder with a class token, and of the decoder that it is trained with first.

    positions: `learned` may be trained on by tags and by finetuning; `sincos` stand still, as in the masked stage.
    num_classes: outputs of the head (hashtags, or classes of a transfer); 0 for the trunk alone.
    drop_path: of the last block, in finetuning.
    """

    dim: int
    depth: int
    num_heads: int
    patch: int
    image_size: int = 224
    num_classes: int = 0
    positions: Literal["learned", "sincos"] = "learned"
    drop_path: float = 0.0
    decoder_dim: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16

    def __post_init__(self) -> None:
        for width, heads in ((self.dim, self.num_heads), (self.decoder_dim, self.decoder_heads)):
            if width % heads or width % 4:
                raise UserError(f"a width of {width} must be a multiple of its {heads} heads, and of 4")
        if self.image_size % self.patch:
            raise UserError(f"image_size={self.image_size} must be a multiple of patch={self.patch}")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time (one), rows and columns."""
        side = self.image_size // self.patch
        return 1, side, side

    @property
    def finetune_size(self) -> int:
        """The side that the released classifiers of this patch were finetuned at."""
        return {16: 512, 14: 518}.get(self.patch, self.image_size)

    @classmethod
    def preset(cls, name: str) -> MawsConfig:
        """`vit_b16`, `vit_l16`, `vit_h14`, `vit_2b14`, `vit_6.5b14` or `nano`."""
        return named_preset(PRESETS, name, "MAWS")

    def at(self, image_size: int, num_classes: int = 0) -> MawsConfig:
        """The same network for pictures of another size and other classes."""
        return dataclasses.replace(self, image_size=image_size, num_classes=num_classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MawsConfig:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))


PRESETS: Final = {
    "vit_b16": MawsConfig(dim=768, depth=12, num_heads=12, patch=16),
    "vit_l16": MawsConfig(dim=1024, depth=24, num_heads=16, patch=16),
    "vit_h14": MawsConfig(dim=1280, depth=32, num_heads=16, patch=14),
    "vit_2b14": MawsConfig(dim=2560, depth=24, num_heads=32, patch=14),
    "vit_6.5b14": MawsConfig(dim=4096, depth=32, num_heads=32, patch=14),
    "nano": MawsConfig(
        dim=96, depth=4, num_heads=3, patch=8, image_size=64, decoder_dim=64, decoder_depth=2, decoder_heads=2
    ),
}


def encoder(config: MawsConfig) -> VisionTransformer:
    """Images (B, 3, H, W), normalised, to the class token's vector (B, D), or to logits where there are classes."""
    return VisionTransformer(
        PatchStem(config.dim, config.patch),
        GridPositions(config.dim, config.grid, prefix=1, kind=config.positions),
        transformer_blocks(config.dim, config.depth, config.num_heads, drop_path=config.drop_path),
        num_classes=config.num_classes,
    )


def autoencoder(config: MawsConfig) -> MaskedAutoencoder:
    """The first stage: an encoder without head and with positions that stand still, and its decoder."""
    trunk = encoder(dataclasses.replace(config, num_classes=0, positions="sincos"))
    decoder = PixelDecoder(
        config.dim,
        config.decoder_dim,
        GridPositions(config.decoder_dim, config.grid, prefix=1, kind="sincos"),
        transformer_blocks(config.decoder_dim, config.decoder_depth, config.decoder_heads),
        3 * config.patch**2,
    )
    return MaskedAutoencoder(trunk, decoder)


@torch.no_grad()
def transfer(trained: VisionTransformer, config: MawsConfig) -> VisionTransformer:
    """The next stage's network with all of `trained` but its head, positions resized to the new size.

    Raises UserError where `config` is another network than `trained`.
    """
    network = encoder(config)
    state = {name: value for name, value in trained.state_dict().items() if not name.startswith("head.")}
    state["positions.table"] = trained.positions(config.grid)
    for name, value in network.state_dict().items():
        if name.startswith("head."):
            continue
        if name not in state or state[name].shape != value.shape:
            raise UserError(
                f"'{name}' of the trained network does not fit the new one: both need the same width, depth and patch"
            )
        value.copy_(state[name])
    return network
