"""Wan 2.1's video autoencoder: 4x8x8 with 16 channels, causal in time, coded piece by piece.

The first frame of a clip is a latent frame of its own, and every four after it are one more, so a picture is a
clip of one frame. Encoding and decoding hold the features of one piece and the ends of the one before: memory
does not grow with the length of the clip, beyond the clip itself. The weights that were published for it load
in both layouts they are handed out in, `Wan2.1_VAE.pth` and the folder `vae` of diffusers.

Letters: B batch, T H W pixel frames, rows, columns; t h w the same of the latent; C latent channels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.codecs import wan_layers
from kinema.codecs.codec import LOGVAR_RANGE, Posterior, Reconstruction, check_latent, check_pixels
from kinema.codecs.latents import LatentSpec
from kinema.codecs.stitch import collect
from kinema.codecs.wan_layers import (
    CausalConv3d,
    ChannelNorm,
    Downsample,
    FrameAttention,
    Memory,
    ResidualBlock,
    Upsample,
)
from kinema.settings import known_settings

# The statistics of the published latent, for each of its 16 channels.
MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WanVAEConfig:
    """Settings; the defaults are those of the published autoencoder.

    Levels run from fine to coarse; every level but the last halves rows and columns, and frames where
    `temporal_strides` has 2.
    """

    latent_channels: int = 16
    base_channels: int = 96
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2  # residual blocks a level of the encoder; the decoder has one more
    temporal_strides: tuple[int, ...] = (1, 2, 2)
    latent_mean: tuple[float, ...] = MEAN
    latent_std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        for name in ("multipliers", "temporal_strides", "latent_mean", "latent_std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        if len(self.temporal_strides) != self.levels - 1 or not {*self.temporal_strides} <= {1, 2}:
            raise ValueError(
                f"temporal_strides={self.temporal_strides} does not fit {self.levels} levels: give"
                f" {self.levels - 1} entries, each 1 or 2"
            )
        if not len(self.latent_mean) == len(self.latent_std) == self.latent_channels:
            raise ValueError(
                f"latent_mean has {len(self.latent_mean)} entries and latent_std {len(self.latent_std)}: give"
                f" one for each of {self.latent_channels} channels"
            )

    @property
    def levels(self) -> int:
        return len(self.multipliers)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.base_channels * m for m in self.multipliers)

    @property
    def strides(self) -> tuple[int, int, int]:
        spatial = 2 ** (self.levels - 1)
        return math.prod(self.temporal_strides), spatial, spatial

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WanVAEConfig:
        return cls(**known_settings(cls, values))


class Encoder(nn.Module):
    """Pixels of one piece of a clip -> mean and log-variance, before the last 1x1 convolution."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        width = config.base_channels
        self.conv1 = CausalConv3d(3, width)
        self.downsamples = nn.ModuleList()
        for level, out in enumerate(config.widths):
            for _ in range(config.blocks):
                self.downsamples.append(ResidualBlock(width, out))
                width = out
            if level < config.levels - 1:
                self.downsamples.append(Downsample(width, config.temporal_strides[level] == 2))
        self.middle = _middle(width)
        self.head = _head(width, 2 * config.latent_channels)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """(B, 3, T, H, W) -> (B, 2C, t, h, w)."""
        x = self.conv1(x, memory)
        for layer in self.downsamples:
            x = layer(x, memory)
        for layer in self.middle:
            x = layer(x, memory)
        return self.head["2"](F.silu(self.head["0"](x)), memory)


class Decoder(nn.Module):
    """One piece of a raw latent, after the first 1x1 convolution -> pixels."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.conv1 = CausalConv3d(config.latent_channels, width)
        self.middle = _middle(width)
        self.upsamples = nn.ModuleList()
        for level in reversed(range(config.levels)):
            for _ in range(config.blocks + 1):
                self.upsamples.append(ResidualBlock(width, config.widths[level]))
                width = config.widths[level]
            if level > 0:
                self.upsamples.append(Upsample(width, config.temporal_strides[level - 1] == 2))
                width //= 2
        self.head = _head(width, 3)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """(B, C, t, h, w) -> (B, 3, T, H, W)."""
        x = self.conv1(x, memory)
        for layer in self.middle:
            x = layer(x, memory)
        for layer in self.upsamples:
            x = layer(x, memory)
        return self.head["2"](F.silu(self.head["0"](x)), memory)


def _middle(width: int) -> nn.ModuleList:
    return nn.ModuleList([ResidualBlock(width, width), FrameAttention(width), ResidualBlock(width, width)])


def _head(width: int, out: int) -> nn.ModuleDict:
    return nn.ModuleDict({"0": ChannelNorm(width), "2": CausalConv3d(width, out)})


class WanVAE(nn.Module):
    """Pixels (B, 3, T, H, W) <-> latent (B, 16, 1 + ceil((T-1)/4), H/8, W/8).

    Where T - 1 is no multiple of four, the last frame is repeated (the published code drops the rest instead),
    and `decode(latent, T)` gives T frames back.
    """

    def __init__(self, config: WanVAEConfig | None = None) -> None:
        super().__init__()
        config = config or WanVAEConfig()
        channels = config.latent_channels
        self.config = config
        self.encoder = Encoder(config)
        self.conv1 = CausalConv3d(2 * channels, 2 * channels, (1, 1, 1))
        self.conv2 = CausalConv3d(channels, channels, (1, 1, 1))
        self.decoder = Decoder(config)
        self.spec = LatentSpec(
            config.strides, channels, mean=config.latent_mean, std=config.latent_std, causal=True
        )
        if not self.spec.mean.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """Set every parameter and buffer (for a codec that was built on the meta device)."""
        wan_layers.init_weights(self)
        self.spec.init_weights()

    def moments(self, pixels: Tensor, memory: Memory) -> Tensor:
        """One piece of a clip (B, 3, n, H, W) -> mean and log-variance of the raw latent (B, 2C, n', h, w).

        The first piece has 1 + 4k frames, later ones 4k (at stride 4); the last one is filled up.
        """
        missing = -(pixels.shape[2] - int(not memory.started)) % self.spec.strides[0]
        if missing:
            last = pixels[:, :, -1:].expand(-1, -1, missing, -1, -1)
            pixels = torch.cat([pixels, last], dim=2)
        out = self.conv1(self.encoder(pixels, memory), memory)
        memory.started = True
        return out

    def pixels(self, raw: Tensor, memory: Memory) -> Tensor:
        """One piece of a raw latent (B, C, n, h, w) -> pixels, not clamped.

        They have 1 + 4(n-1) frames in the first piece, 4n in later ones (at stride 4).
        """
        out = self.decoder(self.conv2(raw, memory), memory)
        memory.started = True
        return out

    def encode_piece(self, pixels: Tensor, memory: Memory) -> Tensor:
        """As `encode`, of the next piece of a clip: the memory is a new `Memory()` at its start."""
        return self.spec.normalise(self.moments(pixels, memory)[:, : self.spec.channels])

    def decode_piece(self, latent: Tensor, memory: Memory) -> Tensor:
        """As `decode`, of the next piece of a latent: the memory is a new `Memory()` at its start."""
        return self.pixels(self.spec.denormalise(latent), memory).clamp(-1.0, 1.0)

    def posterior(self, pixels: Tensor) -> Posterior:
        """Pixels (B, 3, T, H, W) in [-1, 1] -> Gaussian over the raw latent.

        Raises UserError where the size does not fit the strides.
        """
        memory, length = Memory(), self._latent_frames(pixels)
        moments = collect((self.moments(piece, memory) for piece in self._pieces(pixels)), 2, length)
        mean, logvar = moments.chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(*LOGVAR_RANGE))

    def reconstruct(self, raw: Tensor, num_frames: int | None = None) -> Tensor:
        """Raw latent (B, C, t, h, w) -> pixels (B, 3, T, H, W), not clamped; spurious frames discarded."""
        check_latent(raw, self.spec)
        memory, keep = Memory(), self.spec.num_frames(raw.shape[2], num_frames)
        return collect((self.pixels(piece, memory) for piece in raw.split(1, dim=2)), 2, keep)

    def forward(
        self, pixels: Tensor, generator: torch.Generator | None = None, sample: bool = True
    ) -> Reconstruction:
        """Pixels (B, 3, T, H, W) through the latent and back; the latent is drawn, or its mean."""
        posterior = self.posterior(pixels)
        latent = posterior.sample(generator) if sample else posterior.mean
        return Reconstruction(self.reconstruct(latent, pixels.shape[2]), latent, posterior)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, T, H, W) in [-1, 1] -> normalised latent mean (B, C, t, h, w)."""
        memory, length = Memory(), self._latent_frames(pixels)
        return collect((self.encode_piece(piece, memory) for piece in self._pieces(pixels)), 2, length)

    def decode(self, latent: Tensor, num_frames: int | None = None) -> Tensor:
        """Normalised latent (B, C, t, h, w) -> pixels (B, 3, T, H, W) clamped to [-1, 1].

        T is `num_frames`, or 1 + (t-1) * 4 where that is None.
        """
        check_latent(latent, self.spec)
        memory, keep = Memory(), self.spec.num_frames(latent.shape[2], num_frames)
        return collect((self.decode_piece(piece, memory) for piece in latent.split(1, dim=2)), 2, keep)

    def _latent_frames(self, pixels: Tensor) -> int:
        check_pixels(pixels)
        return self.spec.latent_shape(*pixels.shape[2:])[1]

    def _pieces(self, pixels: Tensor) -> Iterator[Tensor]:
        """The first frame, then as many at a time as make one latent frame."""
        yield pixels[:, :, :1]
        if pixels.shape[2] > 1:
            yield from pixels[:, :, 1:].split(self.spec.strides[0], dim=2)
