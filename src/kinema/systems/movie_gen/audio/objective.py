"""Masked audio prediction (2410.13720, section 6): one objective for making, extending and filling in sound.

Half of the samples are all masked (generation); of the others a span of 75 to 100 % is, and the rest is given as
context. The loss counts masked frames only. Everything is drawn from the generator that comes in.
"""

# B batch, C latent channels, N latent frames

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from kinema.flow.paths import SIGMA_MIN, interpolate, velocity_target
from kinema.flow.times import TimeLaw, logit_normal
from kinema.systems.movie_gen.audio.conditions import Conditions
from kinema.text.states import TextStates

ALL_MASKED = 0.5  # share of samples with no context
SPAN = (0.75, 1.0)  # of the frames, masked in the others
ALL_DROPPED = 0.2  # share of samples that lose context, frames and text together
VIDEO_DROPPED = 0.1  # of the others, by itself
TEXT_DROPPED = 0.1


@dataclass(frozen=True)
class Drops:
    """Which samples lose which condition: (B,) bool each."""

    audio: Tensor
    video: Tensor
    text: Tensor


def draw_masks(batch: int, frames: int, generator: Generator) -> Tensor:
    """(B, N) bool, True where sound is to be made: everywhere, or in one span that lies anywhere."""
    whole, share, place = torch.rand(3, batch, generator=generator, device=generator.device)
    low, high = SPAN
    length = ((low + (high - low) * share) * frames).round().long()
    length = torch.where(whole < ALL_MASKED, frames, length)
    start = (place * (frames - length + 1)).long().minimum(frames - length)
    at = torch.arange(frames, device=generator.device)
    return (at >= start[:, None]) & (at < (start + length)[:, None])


def draw_drops(batch: int, generator: Generator) -> Drops:
    """All three conditions with 0.2 together; else frames and text with 0.1 each, independently."""
    everything, frames, words = torch.rand(3, batch, generator=generator, device=generator.device)
    gone = everything < ALL_DROPPED
    return Drops(audio=gone, video=gone | (frames < VIDEO_DROPPED), text=gone | (words < TEXT_DROPPED))


def masked_prediction_loss(
    model: nn.Module,
    latent: Tensor,
    visual: Tensor,
    seen: Tensor,
    text: TextStates,
    generator: Generator,
    time_law: TimeLaw = logit_normal,
    sigma_min: float = SIGMA_MIN,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Flow matching of a latent (B, C, N) under what is left of its context, frames (B, N, F) and text.

    Returns the mean squared error of the velocity over the masked frames, in float32, and logs.
    """
    batch, _, frames = latent.shape
    device = latent.device
    mask = draw_masks(batch, frames, generator).to(device)  # (B, N)
    drops = draw_drops(batch, generator)
    t = time_law(batch, generator).to(device)
    clean = latent.float()
    noise = torch.randn(clean.shape, generator=generator, device=generator.device).to(device)
    context = clean.masked_fill(mask.unsqueeze(1), 0.0)
    conditions = Conditions(context=context, visual=visual, seen=seen, text=text).without(
        drops.audio.to(device), drops.video.to(device), drops.text.to(device)
    )
    predicted = model(interpolate(noise, clean, t, sigma_min), t, conditions).float()
    error = (predicted - velocity_target(noise, clean, sigma_min)).square().mean(1)  # (B, N)
    weight = mask.float()
    loss = (error * weight).sum() / weight.sum().clamp(min=1.0)
    logs = {"masked": weight.mean(), "velocity_rms": predicted.detach().square().mean().sqrt()}
    return loss, logs
