"""What nano does to a clip, with the true clip known: its codec's traces and its own coarse shapes.

A generated clip has no high-resolution truth. But a true clip can be brought near one: encode it, add noise, and let
nano take the noise away again under the clip's caption. What comes back has nano's outlines and cells, and moves like
the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from kinema.codecs import Codec
from kinema.flow.guidance import guided
from kinema.flow.paths import interpolate
from kinema.flow.solvers import euler
from kinema.systems.movie_gen.video.parts import Parts
from kinema.text.states import TextStates
from kinema.train.precision import Precision


@torch.no_grad()
def through_codec(codec: Codec, clips: Tensor, strength: float, generator: Generator) -> Tensor:
    """Encode, add noise of `strength` standard deviations to the latent, decode: (B, 3, T, H, W) -> the same."""
    latent = codec.encode(clips)
    noise = torch.randn(latent.shape, generator=generator)
    return codec.decode(latent + strength * noise.to(latent), clips.shape[2])


@dataclass
class Artefacts:
    """Nano's networks, frozen, as a source of degradations."""

    parts: Parts
    precision: Precision

    @classmethod
    def of(cls, parts: Parts) -> Artefacts:
        """On the CPU, in bfloat16 where it has units for it."""
        return cls(parts.freeze(), Precision.choose("auto"))

    @torch.no_grad()
    def regenerated(
        self,
        clips: Tensor,
        texts: list[str],
        start: float,
        steps: int,
        guidance_scale: float,
        generator: Generator,
    ) -> Tensor:
        """Back to flow time `start` with noise, then forward again by nano in `steps` under the captions.

        Args:
            clips: (B, 3, T, H, W), of the size that nano makes.
            start: 0 forgets the clip, 1 leaves it as the codec gives it back.
        """
        codec, model = self.parts.codec, self.parts.transformer
        latent = codec.encode(clips)
        noise = torch.randn(latent.shape, generator=generator)
        x = interpolate(noise, latent, torch.full((len(latent),), start))
        states = self.parts.read(texts)
        if guidance_scale != 1.0:
            without = self.parts.read([""] * len(texts))
            states = tuple(TextStates.cat(pair) for pair in zip(states, without, strict=True))
        condition = model.prepare(states)

        def velocity(now: Tensor, t: Tensor) -> Tensor:
            with self.precision.autocast():
                return model(now, t, condition).float()

        field = velocity if guidance_scale == 1.0 else guided(velocity, guidance_scale)
        times = torch.linspace(start, 1.0, steps + 1, dtype=torch.float64)
        return codec.decode(euler(field, x, times), clips.shape[2])
