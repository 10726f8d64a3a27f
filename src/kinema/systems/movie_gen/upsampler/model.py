"""Movie Gen's spatial upsampler (2410.13720, section on the spatial upsampler): the video transformer with a condition.

The clip, enlarged bilinearly to the target size and encoded frame by frame, stands behind the noisy latent's channels.
A model that starts from text-to-image weights computes what it did before: the condition's input weights are zero.
"""

# B batch, C latent channels, T H W latent frames, rows, columns

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.flow.paths import over_batch
from kinema.flow.windows import multidiffusion
from kinema.settings import named_preset, plain_settings
from kinema.systems.movie_gen.video.model import (
    Condition,
    Grid,
    MovieGenTransformer,
    Text,
    TransformerConfig,
)

LEAST_SHARE = 0.2  # of the sample's largest standard deviation, for the least visible channels


@dataclass(frozen=True, kw_only=True)
class UpsamplerConfig:
    """Settings of the upsampler. The transformer's grid is its window: (time, height, width) in latent cells.

    Attributes:
        overlap: cells that neighbouring windows share, along time, height and width.
        residual: learn how far the latent lies from the condition's, each channel in a unit of its own, in place of
            the latent itself.
        preconditioned: the network learns only what a linear estimate from the noisy sample leaves open.
    """

    transformer: TransformerConfig
    overlap: Grid
    residual: bool = False
    preconditioned: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "overlap", tuple(self.overlap))
        if self.transformer.condition_channels != self.transformer.latent_channels:
            raise UserError(
                f"the condition is a latent like the sample: condition_channels is "
                f"{self.transformer.condition_channels} and must be {self.transformer.latent_channels}"
            )
        if not all(0 <= o < w for o, w in zip(self.overlap, self.window, strict=True)):
            raise UserError(f"windows of {self.window} cells cannot overlap by {self.overlap}")

    @property
    def window(self) -> Grid:
        """What the transformer sees at once."""
        return self.transformer.grid

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> UpsamplerConfig:
        """Undoes `to_dict`; UserError where it cannot."""
        known = [field.name for field in dataclasses.fields(cls)]
        if set(values) != set(known):
            raise UserError(f"an upsampler's settings are {', '.join(known)}, got {', '.join(values)}")
        return cls(**{**values, "transformer": TransformerConfig.from_dict(values["transformer"])})


PRESETS: dict[str, UpsamplerConfig] = {
    # The paper says 7B, the same design, windows of 14 frames with 4 overlapping; the dimensions are our choice.
    "nano": UpsamplerConfig(
        transformer=TransformerConfig(
            dim=128,
            depth=5,
            num_heads=2,
            hidden=320,
            latent_channels=64,
            condition_channels=64,
            text_dims=(),
            patch=(1, 1, 1),
            grid=(10, 9, 9),
            qk_norm=True,
        ),
        overlap=(4, 2, 2),
        residual=True,
        preconditioned=True,
    ),
    "7b": UpsamplerConfig(
        transformer=TransformerConfig(
            dim=4096,
            depth=28,
            num_heads=32,
            hidden=8960,
            latent_channels=16,
            condition_channels=16,
            grid=(14, 136, 240),
            modulation_mlp=True,
            final_projection=True,
        ),
        overlap=(4, 16, 16),
    ),
}


def preset(name: str) -> UpsamplerConfig:
    """The named preset; UserError with the closest names if there is none."""
    return named_preset(PRESETS, name, "the upsampler")


class Upsampler(nn.Module):
    """The velocity of a high-resolution latent beside the latent of an enlarged clip."""

    unit: Tensor
    spread: Tensor

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = MovieGenTransformer(config.transformer)
        self.register_buffer("unit", torch.empty(config.transformer.latent_channels))
        self.register_buffer("spread", torch.empty(config.transformer.latent_channels))
        if not self.unit.is_meta:
            self.unit.fill_(1.0)
            self.spread.fill_(1.0)

    def init_weights(self) -> None:
        """Set every parameter and buffer."""
        self.transformer.init_weights()
        self.unit.fill_(1.0)
        self.spread.fill_(1.0)

    @torch.no_grad()
    def measure(self, latent: Tensor, condition: Tensor, reach: Tensor) -> None:
        """Choose the sample's unit from latents and their conditions, both (B, C, T, H, W).

        reach: (C,), how far a step of one in a channel moves pixels. Channels whose usual distance moves them less
        get a smaller variance in the sample, so that they weigh less in the loss and settle later.
        """
        if self.config.residual:
            distance = (latent - condition).square().mean((0, 2, 3, 4)).sqrt().clamp_min(1e-4)
            visible = distance * reach
            share = (visible / visible.max()).sqrt().clamp_min(LEAST_SHARE)
            self.unit.copy_(distance / share)
            self.spread.copy_(share)

    def sample_of(self, latent: Tensor, condition: Tensor) -> Tensor:
        """What flow matching learns, from a latent and the condition's, all (B, C, T, H, W)."""
        return (latent - condition) / _over(self.unit) if self.config.residual else latent

    def latent_of(self, sample: Tensor, condition: Tensor) -> Tensor:
        """The inverse of `sample_of`."""
        return sample * _over(self.unit) + condition if self.config.residual else sample

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, text: Text | Condition = ()) -> Tensor:
        """The velocity at x, t under a condition of the same shape (B, C, T, H, W), at most one window."""
        return self._velocity(torch.cat([x, condition], dim=1), t, text)

    def _velocity(self, both: Tensor, t: Tensor, text: Text | Condition) -> Tensor:
        """The velocity for a sample and its condition in one tensor, (B, 2C, T, H, W) -> (B, C, T, H, W).

        Preconditioned: were each channel independent noise of its spread s, the best estimate of data - noise from
        x = t data + (1 - t) noise would be (t s^2 - (1 - t)) / v * x, v = t^2 s^2 + (1 - t)^2, wrong by s / sqrt(v).
        """
        if not self.config.preconditioned:
            return self.transformer(both, t, text)
        x, condition = both.chunk(2, dim=1)
        time, spread = over_batch(t, x), _over(self.spread)
        variance = (time * spread).square() + (1 - time).square()
        rest = self.transformer(torch.cat([x * variance.rsqrt(), condition], dim=1), t, text)
        return (time * spread.square() - (1 - time)) / variance * x + spread * variance.rsqrt() * rest

    def whole(self, x: Tensor, t: Tensor, condition: Tensor, text: Text | Condition = ()) -> Tensor:
        """The velocity of a latent of any size, in windows over time, rows and columns (MultiDiffusion)."""

        def joined(both: Tensor, time: Tensor) -> Tensor:
            return self._velocity(both, time, text)

        field = joined
        for axis, window, overlap in zip((2, 3, 4), self.config.window, self.config.overlap, strict=True):
            field = multidiffusion(field, window, overlap, axis)
        return field(torch.cat([x, condition], dim=1), t)


@torch.no_grad()
def from_text_to_image(model: MovieGenTransformer, config: UpsamplerConfig) -> Upsampler:
    """An upsampler that starts at a transformer without a condition, and computes what that does until it is trained.

    Raises UserError unless the two differ in the condition and the reach of the positions alone.
    """
    wanted = dataclasses.replace(config.transformer, condition_channels=0, grid=model.config.grid)
    if wanted != model.config:
        raise UserError(
            "the model differs from this upsampler in more than the condition: take one of its preset"
        )
    grown = model if model.config.grid == config.window else model.grown(config.window)
    upsampler = Upsampler(config)
    state = dict(grown.state_dict())
    own = upsampler.transformer.patch_in.weight
    widened = torch.zeros_like(own)
    weight = state["patch_in.weight"]
    widened[:, : weight.shape[1]] = (
        weight  # a token's values run channel by channel: the condition's are last
    )
    upsampler.transformer.load_state_dict({**state, "patch_in.weight": widened})
    return upsampler.train(model.training)


def _over(unit: Tensor) -> Tensor:
    return unit.view(1, -1, 1, 1, 1)
