"""What the sign reader is trained on: scenes of `train` with words of `train`, some with digits, some with no sign."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kinema.world.judges.degrade import degrade
from kinema.world.judges.lessons import to_float
from kinema.world.judges.networks import SIZE
from kinema.world.letters import ALPHABET
from kinema.world.motion import view
from kinema.world.renderer import render
from kinema.world.scene import Scene, WorldSpec, sample_scene
from kinema.world.signs import is_unseen_word, legible, make_sign, sample_word

SLOTS = 4  # characters that the reader has places for
BLANK = len(ALPHABET)  # the class of a place without one
MOMENTS, FPS = 4, 2.0  # frames taken from each scene
_SPECS = (WorldSpec(), WorldSpec(vocabulary="nano"))


def _word(rng: random.Random) -> str:
    """A word that may be trained on: as scenes have them, or any letters and digits."""
    if rng.random() < 0.5:
        return sample_word("train", rng, (1, SLOTS) if rng.random() < 0.1 else (2, SLOTS))
    while True:
        word = "".join(rng.choices(ALPHABET, k=rng.randint(2, SLOTS)))
        if not is_unseen_word(word):
            return word


def lesson_scene(index: int) -> Scene:
    """One training scene; one in eight has no sign."""
    rng = random.Random(f"kinema-sign-judge-1:{index}")
    scene = sample_scene("train", 1_000_000 + index, _SPECS[index % 2])
    return scene if index % 8 == 7 else replace(scene, sign=make_sign(scene, _word(rng), rng))


def codes(words: Sequence[str]) -> Tensor:
    """Words as class numbers, padded with BLANK: int64 (B, SLOTS)."""
    return torch.tensor([[*(ALPHABET.index(c) for c in w), *[BLANK] * (SLOTS - len(w))] for w in words])


def word_box(scene: Scene, t: float) -> tuple[float, float, float]:
    """Where the word is on the screen: x of its left edge, y of its middle, log of its letters' height."""
    sign, camera = scene.sign, view(scene, t)
    if sign is None:
        return 0.0, 0.0, 0.0
    left = sign.x - sign.text_size[0] / 2
    zoom = camera.zoom
    return (left - camera.x) * zoom, (sign.y - camera.y) * zoom, math.log(sign.height * zoom)


def lesson(indices: Iterable[int], generator: torch.Generator, spoilt: float = 0.3) -> dict[str, Tensor]:
    """Single frames of scenes at four times each, some spoilt.

    Returns:
        frames (4 * scenes, 3, 64, 64) in [-1, 1]; box (N, 3), see `word_box`; code (N, SLOTS); present (N,) bool: the
        scene has a sign; whole (N,) bool: the word can be read whole.
    """
    scenes = [lesson_scene(i) for i in indices]
    starts = (torch.rand(len(scenes), generator=generator) / FPS).tolist()
    clips = render(scenes, MOMENTS, SIZE, SIZE, FPS, starts).transpose(1, 2).flatten(0, 1)
    times = [[start + k / FPS for k in range(MOMENTS)] for start in starts]
    words = [s.sign.word if s.sign else "" for s in scenes]
    frames = degrade(to_float(clips)[:, :, None], generator, spoilt, parts=16)[:, :, 0]
    return {
        "frames": frames,
        "box": torch.tensor([word_box(s, t) for s, ts in zip(scenes, times) for t in ts]),
        "code": codes(words).repeat_interleave(MOMENTS, 0),
        "present": torch.tensor([bool(w) for w in words]).repeat_interleave(MOMENTS),
        "whole": torch.tensor([ok for s, ts in zip(scenes, times) for ok in legible(s, ts)]),
    }
