"""Sound three times as long as the model sees: triangle windows, even windows, segments, and pieces joined hard.

    python experiments/movie_gen_audio/windows.py

12 s for held-out scenes of 12 s, from their video and a caption. A seam is how much the spectrum jumps where a piece or
window begins, over the usual change of the same sound.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kinema.eval.reports import bars, finish, spread, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.flow.windows import even, taper
from kinema.media import Sound
from kinema.systems.movie_gen.audio.conditions import Conditions
from kinema.systems.movie_gen.audio.sampling import Settings, autoregressive, sample
from kinema.train import Precision, make_generator
from kinema.world.scene import Scene
from kinema.world.sound.words import sound_caption

from measures import seam
from nano import SHARES, frames_of, heard, held_out, nano, sound_of

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
    told: Conditions = pipeline._conditions(
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
    jumps = [seam(torch.from_numpy(s.samples[0]), borders(arm)) for s in sounds]
    return {"seam": sum(jumps) / len(jumps)} | heard(sounds, scenes)


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    count, steps = (2, 1) if given.quick else (16, 16)
    _, weights = nano()
    settings = {"scenes": count, "seconds": SECONDS, "steps": steps, "weights": weights}
    scenes = {seed: held_out(count, seed, SECONDS) for seed in range(given.seeds)}
    runs, spent = run_all(
        NAME,
        given,
        [
            Run(arm, seed, settings, lambda arm=arm, seed=seed: score(arm, seed, scenes[seed], steps))
            for seed in scenes
            for arm in ARMS
        ],
    )
    arms = summary(runs)
    true = []
    for chosen in scenes.values():
        sounds = [sound_of(s) for s in chosen]
        jumps = [seam(torch.from_numpy(s.samples[0]), borders("even")) for s in sounds]
        true.append({"seam": sum(jumps) / len(jumps)} | heard(sounds, chosen))
    ceiling = {figure: spread([row[figure] for row in true]) for figure in FIGURES}
    print(table(arms | {"true sound": ceiling}, FIGURES, SHARES))
    marks = {figure: cell["mean"] for figure, cell in ceiling.items()}
    finish(
        NAME,
        given,
        spent,
        {"settings": settings, "arms": arms, "true_sound": ceiling},
        lambda figure: bars(figure, arms, FIGURES, marks),
        Path(__file__).resolve().parent,
    )


if __name__ == "__main__":
    main()
