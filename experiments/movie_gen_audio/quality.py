"""The quality that a caption names: 4.0, as damaged copies were labelled in training, and 8.0, as clean ones.

    python experiments/movie_gen_audio/quality.py

Sounds of held-out clips of 2 s from the same noise, video and words; only the number differs. Beside them the true
sounds, clean and damaged, through the codec.
"""

from __future__ import annotations

import torch

from kinema.eval.runs import arguments
from kinema.media import Sound
from kinema.systems.movie_gen.audio.clips import damaged
from kinema.world.scene import Scene
from kinema.world.sound.words import sound_caption

from comparing import compare
from measures import brightness, contrast
from nano import frames_of, heard, nano, sound_of

NAME = "quality"
SECONDS = 2.0
FIGURES = ("above 6 kHz, dB", "loudest over quietest, dB", "impacts", "material", "background")
QUALITIES = {"quality 4.0": 4.0, "quality 6.0": 6.0, "quality 8.0": 8.0}
TRUE = ("damaged copies", "clean copies")


def make(arm: str, scene: Scene, seed: int, steps: int) -> Sound:
    """A sound at a quality, or a true one through the codec."""
    pipeline, _ = nano()
    if arm in QUALITIES:
        words = sound_caption(scene, 0)
        return pipeline.sound_for(frames_of(scene), words, seed=seed, quality=QUALITIES[arm], steps=steps)
    sound = sound_of(scene)
    if arm == "damaged copies":
        spoilt = damaged(torch.from_numpy(sound.samples), scene, sound.rate)
        sound = Sound(spoilt.numpy(), sound.rate)
    return pipeline.round_trip(sound)


def score(arm: str, seed: int, scenes: list[Scene], steps: int) -> dict[str, float]:
    """How bright and how free of noise the sounds are, and what the judge hears."""
    sounds = [make(arm, scene, 1000 * seed + k, steps) for k, scene in enumerate(scenes)]
    waves = [torch.from_numpy(sound.samples[0]) for sound in sounds]
    return {
        FIGURES[0]: sum(map(brightness, waves)) / len(waves),
        FIGURES[1]: sum(map(contrast, waves)) / len(waves),
    } | heard(sounds, scenes)


def main() -> None:
    """The command."""
    compare(NAME, arguments(__doc__), (*QUALITIES, *TRUE), score, FIGURES, count=64, seconds=SECONDS)


if __name__ == "__main__":
    main()
