"""Sound three times as long as the model sees: triangle windows, even windows, segments, and pieces joined hard.

    python experiments/movie_gen_audio/windows.py

12 s for held-out scenes of 12 s, from their video and a caption. A seam is how much the spectrum jumps where a piece or
window begins, over the usual change of the same sound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kinema.eval.runs import arguments
from kinema.flow.windows import even, taper
from kinema.media import Sound
from kinema.systems.movie_gen.audio.conditions import Conditions
from kinema.systems.movie_gen.audio.sampling import Settings, autoregressive, sample
from kinema.train import Precision, make_generator
from kinema.world.scene import Scene
from kinema.world.sound.words import sound_caption

from comparing import compare
from measures import seam
from nano import frames_of, heard, nano, sound_of

NAME = "windows"
SECONDS = 12.0
FIGURES = ("seam", "impacts", "error, ms", "background")
ARMS = ("triangles", "even", "segments", "joined hard")


@torch.inference_mode()
def make(arm: str, scene: Scene, seed: int, steps: int) -> Tensor:
    """A latent (1, C, N) for a scene; an arm's noise is that of the others."""
    pipeline, _ = nano()
    model, precision = pipeline.parts.transformer, Precision.choose("auto", "cpu")
    video, frames = frames_of(scene), round(SECONDS * pipeline.rate / pipeline.hop)
    shape = (1, model.config.latent_channels, frames)
    noise = torch.randn(shape, generator=make_generator(seed, "noise", scene.index))
    told: Conditions = pipeline.conditions(
        [pipeline.caption(sound_caption(scene, 0))], torch.zeros(shape), [video]
    )
    weights = even if arm == "even" else taper
    settings = Settings(steps=steps, weights=weights, precision=precision.autocast)
    if arm == "segments":
        return autoregressive(model, told, noise, settings)
    if arm != "joined hard":
        return sample(model, told, noise, settings)
    window = model.config.max_frames
    pieces = [
        sample(model, told.part(at, window), noise[:, :, at : at + window], settings)
        for at in range(0, frames, window)
    ]
    return torch.cat(pieces, dim=2)


def borders(arm: str) -> list[float]:
    """Where pieces begin, in seconds: windows every half of their length, segments every four fifths."""
    pipeline, _ = nano()
    window = pipeline.reach
    step = {"joined hard": window, "segments": window * 4 / 5}.get(arm, window / 2)
    return [k * step for k in range(1, round(SECONDS / step) + 1) if k * step < SECONDS - 0.1]


def score(arm: str, seed: int, scenes: list[Scene], steps: int) -> dict[str, float]:
    """Seams, and what the judge hears."""
    pipeline, _ = nano()
    sounds = []
    for scene in scenes:
        latent = make(arm, scene, seed, steps)
        samples = pipeline.parts.codec.decode(latent.float(), round(SECONDS * pipeline.rate))
        sounds.append(Sound(samples[0].clamp(-1, 1).numpy(), pipeline.rate))
    return figures(sounds, scenes, borders(arm))


def figures(sounds: list[Sound], scenes: list[Scene], places: list[float]) -> dict[str, float]:
    """The figures of sounds, with seams looked for at `places` (s)."""
    jumps = [seam(torch.from_numpy(s.samples[0]), places) for s in sounds]
    return {"seam": sum(jumps) / len(jumps)} | heard(sounds, scenes)


def main() -> None:
    """The command."""
    compare(
        NAME,
        arguments(__doc__),
        ARMS,
        score,
        FIGURES,
        count=16,
        seconds=SECONDS,
        true=lambda scenes: figures([sound_of(s) for s in scenes], scenes, borders("even")),
    )


if __name__ == "__main__":
    main()
