"""From noise to an audio latent: guidance, the midpoint solver, and sound longer than the model was trained on.

Two long forms, as in the paper: windows that overlap and are merged at every evaluation with triangle weights
(MultiDiffusion, all windows at once), and segments one after the other, each with the end of the last as context.
"""

# B batch, C latent channels, N latent frames, D width

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from kinema.codecs.latents import LatentSpec
from kinema.errors import UserError
from kinema.flow.guidance import guided
from kinema.flow.schedules import linear
from kinema.flow.solvers import OnStep, Velocity, midpoint
from kinema.flow.windows import multidiffusion, taper
from kinema.systems.movie_gen.audio.conditions import Conditions
from kinema.systems.movie_gen.audio.model import MovieGenAudioTransformer
from kinema.text.states import TextStates

STEPS = 64  # the paper's
GUIDANCE_SCALE = 3.0
CONTEXT_SHARE = 5  # one fifth of a segment is context: 5 s of the paper's 25


class SoundCodec(Protocol):
    """Sound (B, 1, n) in [-1, 1] to a normalised latent (B, C, N) and back, such as `kinema.codecs.dac_vae.DacVAE`."""

    @property
    def config(self) -> Any:
        """Has `rate`, samples a second, and `hop`, samples in a latent frame."""
        ...

    @property
    def spec(self) -> LatentSpec:
        """Has `channels` C."""
        ...

    def encode(self, sound: Tensor) -> Tensor: ...

    def decode(self, latent: Tensor, samples: int) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to solve.

    Attributes:
        steps: midpoint steps, each of two evaluations.
        guidance_scale: u0 + w (u - u0), all conditions dropped together in u0; 1 is no guidance.
        window: latent frames that the model sees at once; None: its `max_frames`. Windows share half of them.
        weights: with which windows are merged: triangles, as the paper prefers, or `kinema.flow.windows.even`.
        precision: the context in which the network runs.
    """

    steps: int = STEPS
    guidance_scale: float = GUIDANCE_SCALE
    window: int | None = None
    weights: Callable[[int, int], Tensor] = taper
    precision: Callable[[], AbstractContextManager[object]] = nullcontext

    def reach(self, model: MovieGenAudioTransformer) -> int:
        """Latent frames of one window."""
        return self.window or model.config.max_frames


def velocity_field(
    model: MovieGenAudioTransformer, conditions: Conditions, settings: Settings
) -> Callable[[Tensor, Tensor], Tensor]:
    """The guided velocity of samples (B, C, N) under `conditions`; longer ones than the window in windows.

    What the steps share (frames, text, its keys and values) is computed here, once. The windows run one by one, so
    memory does not grow with the length beyond the latent and what lies beside it.
    """
    scale, batch = settings.guidance_scale, len(conditions)
    channels, dim = model.config.latent_channels, model.config.dim
    with settings.precision():
        told = conditions if scale == 1.0 else Conditions.cat(conditions, conditions.nothing())
        prepared = model.prepare(told)
    context, added = prepared.context[:batch], prepared.added[:batch].transpose(1, 2)  # (B, C, N), (B, D, N)
    beside = torch.cat([context, added.to(context.dtype)], dim=1)

    def velocity(x: Tensor, t: Tensor) -> Tensor:  # (B or 2B, C + C + D, n) -> (B or 2B, C, n)
        sample, known, shown = x.split([channels, channels, dim], dim=1)
        if len(x) > batch:  # the second half is told nothing
            kept = (torch.arange(len(x), device=x.device) < batch).to(x.dtype)[:, None, None]
            known, shown = known * kept, shown * kept
        here = replace(prepared, context=known, added=shown.transpose(1, 2))
        with settings.precision():
            return model(sample, t, here)

    window = settings.reach(model)
    guiding = velocity if scale == 1.0 else guided(velocity, scale)
    field = multidiffusion(guiding, window, window // 2, weights=settings.weights)
    return lambda x, t: field(torch.cat([x, beside.to(x.dtype)], dim=1), t)


def sample(
    model: MovieGenAudioTransformer,
    conditions: Conditions,
    noise: Tensor,
    settings: Settings,
    on_step: OnStep | None = None,
) -> Tensor:
    """Solve from noise (B, C, N) to a normalised latent of the same shape."""
    velocity: Velocity = velocity_field(model, conditions, settings)
    return midpoint(velocity, noise, linear(settings.steps), on_step)


@dataclass(frozen=True)
class Segment:
    """One step of the autoregression: it sees `first` to `end` and makes `begin` to `stop`."""

    first: int
    begin: int
    stop: int
    end: int


def segments(length: int, window: int, context: int, known: int = 0, backward: bool = False) -> list[Segment]:
    """The steps that fill `length` latent frames, each making `window - context` new ones or what is left.

    known: frames that are there already, at the beginning; at the end, if the steps go backward.
    """
    if not 0 <= context < window:
        raise UserError(f"a context of {context} frames does not fit a window of {window}: give less")
    new = window - context
    ahead = [
        Segment(max(start - context, 0), start, min(start + new, length), min(start + new, length))
        for start in range(known, length, new)
    ]
    if not backward:
        return ahead
    return [Segment(length - s.end, length - s.stop, length - s.begin, length - s.first) for s in ahead]


def autoregressive(
    model: MovieGenAudioTransformer,
    conditions: Conditions,
    noise: Tensor,
    settings: Settings,
    *,
    known: int = 0,
    backward: bool = False,
    context: int | None = None,
    texts: Sequence[TextStates] = (),
    on_segment: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Make a long latent segment by segment, each beside the nearest frames of what is there: (B, C, N).

    Args:
        conditions: of the whole length; its context holds the `known` frames.
        known: frames that are given at the beginning, or at the end if the segments go `backward`.
        context: frames that a segment sees of those made before it; a fifth of the window if left out.
        texts: one for each segment, since a caption describes the new part alone; none: the conditions' own.
        on_segment: called with segments done and their number.
    """
    window = settings.reach(model)
    reach = window // CONTEXT_SHARE if context is None else context
    steps = segments(noise.shape[2], window, reach, known, backward)
    if texts and len(texts) != len(steps):
        raise UserError(f"there are {len(texts)} texts for {len(steps)} segments: give one each, or none")
    made = conditions.context.clone()
    for turn, step in enumerate(steps):
        given = made[:, :, step.first : step.end].clone()
        given[:, :, step.begin - step.first : step.stop - step.first] = 0.0
        told = replace(conditions.part(step.first, step.end - step.first), context=given)
        if texts:
            told = replace(told, text=texts[turn])
        found = sample(model, told, noise[:, :, step.first : step.end], settings)
        made[:, :, step.begin : step.stop] = found[:, :, step.begin - step.first : step.stop - step.first]
        if on_segment is not None:
            on_segment(turn + 1, len(steps))
    return made
