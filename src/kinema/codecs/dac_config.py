"""Settings of the sound autoencoder and their presets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kinema.errors import UserError
from kinema.settings import known_settings, named_preset

WATERMARK_BITS = 16
GROUPS = 16  # of bands, whose energies the encoder sees


@dataclass(frozen=True, kw_only=True)
class DacVAEConfig:
    """A convolutional autoencoder of sound in the layout of the Descript Audio Codec, with a Gaussian latent.

    `rates` are the encoder's strides, the decoder has them in reverse; widths are those before, between and after the
    strided layers, so there is one more of them. `frame` > 1 puts a strided convolution of that stride in place of
    both ends' convolutions at the sampling rate; it starts as a cosine transform, which loses nothing.
    `noise` gives the encoder the bands' energies beside the wave, and has the decoder add noise in bands whose loudness
    it says: what a small decoder cannot learn to make of nothing.
    `watermark` is the message of 16 bits that `decode` hides in the sound, by the layers that the published weights
    have for it; None is a codec without them.
    """

    rate: int = 48000
    latent_channels: int
    rates: tuple[int, ...]
    encoder_widths: tuple[int, ...]
    trunk: int  # channels between the encoder's last layer and the latent
    decoder_widths: tuple[int, ...]
    frame: int = 1
    noise: bool = False
    weight_norm: bool = True  # False: weights are stored as they are used, faster
    watermark: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("rates", "encoder_widths", "decoder_widths", "watermark"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))  # JSON gives lists
        stages = len(self.rates)
        if len(self.encoder_widths) != stages + 1 or len(self.decoder_widths) != stages + 1:
            raise ValueError(
                f"rates has {stages} stages, encoder_widths {len(self.encoder_widths)} entries and"
                f" decoder_widths {len(self.decoder_widths)}: give one width more than there are stages"
            )
        if self.frame > 1 and min(self.encoder_widths[0], self.decoder_widths[-1]) < self.frame:
            raise ValueError(
                f"frames of {self.frame} samples need as many channels: encoder_widths begins with"
                f" {self.encoder_widths[0]} and decoder_widths ends with {self.decoder_widths[-1]}"
            )
        if self.noise and (self.frame == 1 or self.encoder_widths[0] < self.frame + GROUPS):
            raise ValueError(
                f"noise needs frames, and {GROUPS} more first encoder_widths than a frame has samples: got"
                f" frame={self.frame} and {self.encoder_widths[0]}"
            )
        message = self.watermark
        if message is not None and (len(message) != WATERMARK_BITS or set(message) - {0, 1}):
            raise UserError(f"the watermark is {message}: give {WATERMARK_BITS} bits, each 0 or 1, or None")
        if message is not None and any(width % 3 for width in self.decoder_widths):
            raise ValueError(
                f"decoder_widths={self.decoder_widths} must be multiples of 3, a third of each being the watermark's"
            )

    @property
    def hop(self) -> int:
        """Samples to a latent frame."""
        return self.frame * math.prod(self.rates)

    @property
    def frames_per_second(self) -> float:
        """Latent frames to a second."""
        return self.rate / self.hop

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DacVAEConfig:
        return cls(**known_settings(cls, values))

    @classmethod
    def preset(cls, name: str) -> DacVAEConfig:
        """One of DAC_PRESETS; raises UserError with the closest names otherwise."""
        return named_preset(DAC_PRESETS, name, "the sound autoencoder")


FULL = DacVAEConfig(
    latent_channels=128, rates=(2, 8, 10, 12), encoder_widths=(64, 128, 256, 512, 1024), trunk=1024,
    decoder_widths=(1536, 768, 384, 192, 96),
)  # fmt: skip
NANO = DacVAEConfig(
    latent_channels=96, rates=(3, 4, 4), encoder_widths=(56, 64, 80, 96), trunk=96,
    decoder_widths=(128, 96, 80, 64), frame=40, noise=True,
)  # fmt: skip

DAC_PRESETS: dict[str, DacVAEConfig] = {
    "nano": NANO,
    # 25 latent frames a second, 128 channels: facebook/dacvae-watermarked without and with its watermark.
    "full": FULL,
    "full_watermarked": dataclasses.replace(FULL, watermark=(0, 1) * (WATERMARK_BITS // 2)),
}
