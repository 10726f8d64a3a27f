"""Settings of the image and video autoencoders, and their presets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kinema.settings import known_settings, named_preset


@dataclass(frozen=True, kw_only=True)
class ImageVAEConfig:
    """A convolutional autoencoder of pictures in the layout of Stable Diffusion 3.

    Levels run from fine to coarse; every level but the last halves rows and columns. `patch` folds pixels
    into channels before the first convolution (and unfolds after the last), so the spatial stride is
    `patch * 2 ** (levels - 1)`. The published layouts are `patch=1, stem_kernel=3, resample="conv"`, without
    a linear skip.
    """

    latent_channels: int
    base_channels: int
    multipliers: tuple[int, ...]
    encoder_blocks: tuple[int, ...]  # residual blocks a level
    decoder_blocks: tuple[int, ...]
    norm_groups: int = 32
    attention: bool = True  # in the middle block
    patch: int = 1
    stem_kernel: int = 3  # of the encoder's first convolution
    resample: Literal["conv", "shuffle"] = "conv"
    linear_skip: bool = False  # a linear patch projection beside the network; the network starts at zero
    quant_conv: bool = False  # 1x1 convolutions at both sides of the latent: Stable Diffusion 1, 2 and XL
    latent_scale: float = 1.0  # normalised = (raw - latent_shift) * latent_scale
    latent_shift: float = 0.0

    def __post_init__(self) -> None:
        for name in ("multipliers", "encoder_blocks", "decoder_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        levels = len(self.multipliers)
        if len(self.encoder_blocks) != levels or len(self.decoder_blocks) != levels:
            raise ValueError(
                f"multipliers has {levels} levels, encoder_blocks {len(self.encoder_blocks)} and"
                f" decoder_blocks {len(self.decoder_blocks)}: give one entry a level"
            )
        for width in self.widths:
            if width % self.norm_groups:
                raise ValueError(f"width {width} is not a multiple of norm_groups={self.norm_groups}")

    @property
    def levels(self) -> int:
        return len(self.multipliers)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.base_channels * m for m in self.multipliers)

    @property
    def spatial_stride(self) -> int:
        return self.patch * 2 ** (self.levels - 1)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageVAEConfig:
        return cls(**known_settings(cls, values))

    @classmethod
    def preset(cls, name: str) -> ImageVAEConfig:
        """One of IMAGE_PRESETS; raises UserError with the closest names otherwise."""
        return named_preset(IMAGE_PRESETS, name, "the image autoencoder")


@dataclass(frozen=True, kw_only=True)
class TAEConfig:
    """A temporal autoencoder: an image autoencoder and where its time axis goes.

    `temporal_strides` has 1 or 2 for every level but the last: the stride in time that follows the level's
    halving of rows and columns (in the decoder, that follows the doubling back to this level).
    `temporal_levels` says which levels have a temporal convolution after every spatial one; None is all of
    them, the published layout. The coarsest level's entry also holds for the middle block and the latent's
    convolutions.
    """

    image: ImageVAEConfig
    temporal_strides: tuple[int, ...]
    temporal_levels: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "temporal_strides", tuple(self.temporal_strides))
        if self.temporal_levels is not None:
            object.__setattr__(self, "temporal_levels", tuple(self.temporal_levels))
        levels = self.image.levels
        if len(self.temporal_strides) != levels - 1 or any(s not in (1, 2) for s in self.temporal_strides):
            raise ValueError(
                f"temporal_strides={self.temporal_strides} does not fit {levels} levels: give {levels - 1}"
                " entries, each 1 or 2"
            )
        if self.temporal_levels is not None and len(self.temporal_levels) != levels:
            raise ValueError(
                f"temporal_levels={self.temporal_levels} does not fit {levels} levels: give one entry each"
            )

    @property
    def temporal_stride(self) -> int:
        return math.prod(self.temporal_strides)

    @property
    def temporal(self) -> tuple[bool, ...]:
        """For each level: is there a temporal convolution after each spatial one."""
        return self.temporal_levels or (True,) * self.image.levels

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TAEConfig:
        known = known_settings(cls, values)
        return cls(**{**known, "image": ImageVAEConfig.from_dict(known["image"])})

    @classmethod
    def preset(cls, name: str) -> TAEConfig:
        """One of TAE_PRESETS; raises UserError with the closest names otherwise."""
        return named_preset(TAE_PRESETS, name, "the temporal autoencoder")


SD3 = ImageVAEConfig(
    latent_channels=16, base_channels=128, multipliers=(1, 2, 4, 4),
    encoder_blocks=(2,) * 4, decoder_blocks=(3,) * 4, latent_scale=1.5305, latent_shift=0.0609,
)  # fmt: skip
SD1 = dataclasses.replace(
    SD3, latent_channels=4, quant_conv=True, latent_scale=0.18215, latent_shift=0.0
)  # and 2
SDXL = dataclasses.replace(SD1, latent_scale=0.13025)
FLUX1 = dataclasses.replace(SD3, latent_scale=0.3611, latent_shift=0.1159)
SMALL = ImageVAEConfig(
    latent_channels=8, base_channels=32, multipliers=(1, 2, 2),
    encoder_blocks=(1,) * 3, decoder_blocks=(2,) * 3,
)  # fmt: skip
NANO = ImageVAEConfig(
    latent_channels=64, base_channels=16, multipliers=(1, 2, 4),
    encoder_blocks=(0, 0, 0), decoder_blocks=(0, 1, 0),
    norm_groups=8, patch=2, stem_kernel=1, resample="shuffle", linear_skip=True,
)  # fmt: skip

IMAGE_PRESETS: dict[str, ImageVAEConfig] = {
    "nano": NANO, "small": SMALL, "sd1": SD1, "sdxl": SDXL, "sd3": SD3, "flux1": FLUX1,
}  # fmt: skip
TAE_PRESETS: dict[str, TAEConfig] = {
    "nano": TAEConfig(image=NANO, temporal_strides=(2, 2), temporal_levels=(False, False, True)),
    "small": TAEConfig(image=SMALL, temporal_strides=(2, 2)),
    # 8x in time, height and width, 16 channels; the ablations of the paper use 4x in time and 8 channels.
    "movie_gen": TAEConfig(image=SD3, temporal_strides=(2, 2, 2)),
    "movie_gen_ablation": TAEConfig(
        image=dataclasses.replace(SD3, latent_channels=8, latent_scale=1.0, latent_shift=0.0),
        temporal_strides=(1, 2, 2),
    ),
}
