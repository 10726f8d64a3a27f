"""A gap filled in beside what is there, against a sound made without looking at it.

    python experiments/movie_gen_audio/infilling.py

The second second of held-out clips of 3 s is made anew from the video; the rest stays. Without context the whole clip
is made and its middle put in.
"""

from __future__ import annotations

import numpy as np
import torch

from kinema.eval.runs import arguments
from kinema.eval.sound import mel_distance
from kinema.media import Sound
from kinema.systems.movie_gen.audio.pipeline import blend
from kinema.world.scene import Scene

from comparing import compare
from measures import loudness, seam
from nano import frames_of, heard, nano, sound_of

NAME = "infilling"
SECONDS, START, END = 3.0, 1.0, 2.0
FIGURES = ("seam", "mel distance in the gap, dB", "level error, dB", "background", "impacts")
ARMS = ("with context", "without", "codec")


def fill(arm: str, scene: Scene, seed: int, steps: int) -> Sound:
    """The true sound with its gap made anew; "codec": with its own sound through the codec there."""
    pipeline, _ = nano()
    sound, video = sound_of(scene), frames_of(scene)
    if arm == "with context":
        return pipeline.infill(sound, START, END, video=video, seed=seed, steps=steps)
    if arm == "without":
        made = pipeline.sound_for(video, seed=seed, steps=steps)
    else:
        made = pipeline.round_trip(sound)
    begin, end = round(START * sound.rate), round(END * sound.rate)
    own, new = (
        torch.from_numpy(sound.samples)[None],
        torch.from_numpy(made.samples[:, : sound.samples.shape[1]])[None],
    )
    mixed = blend(own, new, begin, end, pipeline.hop)[0]
    return Sound(np.ascontiguousarray(mixed.clamp(-1, 1).numpy(), dtype=np.float32), sound.rate)


def score(arm: str, seed: int, scenes: list[Scene], steps: int) -> dict[str, float]:
    """Seams at both ends, how far the gap is from the truth, and what the judge hears in the whole."""
    sounds = [fill(arm, scene, 1000 * seed + k, steps) for k, scene in enumerate(scenes)]
    return figures(sounds, scenes)


def figures(sounds: list[Sound], scenes: list[Scene]) -> dict[str, float]:
    """The figures of sounds."""
    rows = []
    for sound, scene in zip(sounds, scenes, strict=True):
        made, true = torch.from_numpy(sound.samples[0]), torch.from_numpy(sound_of(scene).samples[0])
        gap = slice(round(START * sound.rate), round(END * sound.rate))
        rows.append(
            (
                seam(made, (START, END)),
                float(mel_distance(made[gap], true[gap], sound.rate)),
                abs(loudness(made[gap]) - loudness(true[gap])),
            )
        )
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return dict(zip(FIGURES[:3], means, strict=True)) | heard(sounds, scenes)


def main() -> None:
    """The command."""
    compare(
        NAME,
        arguments(__doc__),
        ARMS,
        score,
        FIGURES,
        count=64,
        seconds=SECONDS,
        true=lambda scenes: figures([sound_of(s) for s in scenes], scenes),
        gap=[START, END],
    )


if __name__ == "__main__":
    main()
