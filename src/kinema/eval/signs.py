"""Does a clip's sign say the quoted word? Held-out words on the Small World's signs, read by the sign reader."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from kinema.errors import UserError
from kinema.eval.judged import accuracy
from kinema.media import to_tensor
from kinema.world.captions import canonical_caption
from kinema.world.judges.lessons import to_float
from kinema.world.judges.signs import SignJudge
from kinema.world.judges.video import prepared
from kinema.world.renderer import render
from kinema.world.scene import Scene, WorldSpec, sample_scene
from kinema.world.signs import legible_share

LEGIBLE = 0.8  # of the time a sign must be whole in the true clip for its scene to be asked for
BLOCK = 1_000_000  # scenes between the first prompts of two seeds
WORLD = WorldSpec(vocabulary="nano", sign_odds=1.0, sign_letters=(1, 4), sign_place="overhead")


def signed_scenes(count: int, seed: int = 0) -> list[Scene]:
    """Held-out scenes whose sign can be read most of the time; training saw none of their words."""
    found: list[Scene] = []
    index = seed * BLOCK
    while len(found) < count:
        scene = sample_scene("val", index, WORLD)
        if scene.sign is not None and legible_share(scene) >= LEGIBLE:
            found.append(scene)
        index += 1
    return found


def evaluate_signs(
    pipeline: Any,
    num_prompts: int = 128,
    seed: int = 0,
    batch_size: int = 16,
    judge: SignJudge | None = None,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Generate a clip for `num_prompts` scenes with a sign and have the signs read.

    The report holds plain numbers: the share of words read exactly right with its 95 % interval, by number of
    letters and by whether the camera rests, the share of right characters, the share of words for true renders of
    the scenes, and for control clips of the same scenes whose prompt quotes nothing (what is then read right is
    chance).
    """
    if num_prompts < 2 or batch_size < 1:
        raise UserError(
            f"num_prompts={num_prompts}, batch_size={batch_size}: expected at least 2 prompts and 1 a batch"
        )
    judge = judge or SignJudge.load()
    scenes = signed_scenes(num_prompts, seed)
    words = [scene.sign.word for scene in scenes if scene.sign is not None]
    said: dict[str, list[str]] = defaultdict(list)
    for start in range(0, num_prompts, batch_size):
        group = scenes[start : start + batch_size]
        seeds = [seed * BLOCK + start + i for i in range(len(group))]
        prompts = [canonical_caption(scene) for scene in group]
        clips = pipeline.generate(prompts, seeds=seeds, **settings)
        made = torch.cat([prepared(to_tensor(c.video.frames)[None]) for c in clips])
        said["made"] += [reading.word for reading in judge.read(made)]
        said["true"] += [reading.word for reading in judge.read(to_float(render(group)))]
        if start < num_prompts // 4:
            silent = [canonical_caption(replace(scene, sign=None)) for scene in group]
            clips = pipeline.generate(silent, seeds=seeds, **settings)
            bare = torch.cat([prepared(to_tensor(c.video.frames)[None]) for c in clips])
            said["unasked"] += [reading.word for reading in judge.read(bare)]
        if progress is not None:
            progress(start + len(group), num_prompts)
    score = accuracy(said["made"], words)
    cameras = ["rests" if scene.camera == "static" else "moves" for scene in scenes]
    return {
        "clips": num_prompts,
        "exact": score.share,
        "low": score.low,
        "high": score.high,
        "true_renders": accuracy(said["true"], words).share,
        "characters": _characters(said["made"], words),
        "exact_by_letters": _exact_by([str(len(word)) for word in words], said["made"], words),
        "exact_by_camera": _exact_by(cameras, said["made"], words),
        "unasked": accuracy(said["unasked"], words[: len(said["unasked"])]).share,
        "examples": [list(pair) for pair in list(zip(words, said["made"], strict=True))[:16]],
    }


def _exact_by(kinds: list[str], read: list[str], words: list[str]) -> dict[str, float]:
    """The share of words read exactly right, for each kind."""
    right = defaultdict(list)
    for kind, said, word in zip(kinds, read, words, strict=True):
        right[kind].append(said == word)
    return {kind: sum(right[kind]) / len(right[kind]) for kind in sorted(right)}


def _characters(read: list[str], words: list[str]) -> float:
    """The share of the words' characters that were read at their place."""
    right = sum(a == b for said, word in zip(read, words, strict=True) for a, b in zip(said, word))
    return right / sum(map(len, words))
