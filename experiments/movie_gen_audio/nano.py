"""The networks that come with kinema, held-out clips with their sound, and what is right in a sound."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from kinema.eval.movie_gen_audio import RATE, judged
from kinema.media import Sound, Video
from kinema.systems.movie_gen.audio.clips import SPEC
from kinema.systems.movie_gen.audio.pipeline import MovieGenAudio, load
from kinema.world.judges.audio import AudioJudge
from kinema.world.renderer import render
from kinema.world.scene import Scene, sample_scene
from kinema.world.sound.mix import render_sound

FPS = 16.0
BLOCK = 1_000_000  # scene numbers between seeds
SHARES = ("impacts", "material", "background")  # figures that are shares


@cache
def nano() -> tuple[MovieGenAudio, str]:
    """The pipeline, and the beginning of its file's SHA-256."""
    folder = resources.files("kinema.systems.movie_gen.audio")
    with resources.as_file(folder.joinpath("nano.safetensors")) as path:
        return load(path), hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def held_out(count: int, seed: int, seconds: float) -> list[Scene]:
    """Scenes that no training saw, of this length; every seed has its own."""
    spec = replace(SPEC, duration=seconds)
    return [sample_scene("val", seed * BLOCK + k, spec) for k in range(count)]


def frames_of(scene: Scene) -> Video:
    """A scene's picture, without its sound."""
    frames = render([scene], round(scene.duration * FPS), fps=FPS)[0]  # (3, T, H, W)
    return Video(frames.permute(1, 2, 3, 0).contiguous().numpy(), FPS)


def sound_of(scene: Scene) -> Sound:
    """A scene's true sound."""
    return Sound(render_sound([scene], RATE)[0].numpy(), RATE)


def mono(sound: Sound) -> Tensor:
    """(1, 1, samples), as the judge takes it."""
    return torch.from_numpy(sound.samples).mean(0)[None, None]


def heard(sounds: Sequence[Sound], scenes: Sequence[Scene]) -> dict[str, float]:
    """Impacts within 40 ms (F1) and their mean error, materials and backgrounds as the judge hears them."""
    judge = AudioJudge.load()
    found: Mapping[str, Any] = judged([judge.read(mono(s), s.rate)[0] for s in sounds], scenes)
    return {
        "impacts": found["impacts"]["f1"],
        "error, ms": found["impacts"]["error_ms"],
        "material": found["material"]["share"] if found["material"] else 0.0,
        "background": found["bed"]["share"],
    }
