"""What the Small World's judge reads from latents, and the share of it that is right."""

# N clips, C latent channels, T H W latent frames, rows, columns, D width of the features

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kinema.systems.movie_gen.video.parts import Parts
from kinema.world.judges.labels import truth
from kinema.world.judges.video import VideoJudge
from kinema.world.scene import Scene

from world import FRAMES

SHOWN = ("identity", "colour", "motion", "direction")  # what the captions decide and the judge reads


@torch.inference_mode()
def judged(parts: Parts, latent: Tensor) -> tuple[list[dict[str, str]], Tensor]:
    """What the judge reads from latents (N, C, T, H, W): labels, and features (N, D)."""
    judge, told, features = VideoJudge.load(), list[dict[str, str]](), list[Tensor]()
    for part in latent.split(64):
        readings, found = judge.study(parts.codec.decode(part, FRAMES))
        told += [r.labels() for r in readings]
        features.append(found)
    return told, torch.cat(features)


def shares(told: Sequence[Mapping[str, str]], scenes: Sequence[Scene]) -> dict[str, float]:
    """Share of right answers for each attribute, and of clips with all of SHOWN right."""
    wanted = [truth(s) for s in scenes]
    right = {a: [t[a] == w[a] for t, w in zip(told, wanted, strict=True)] for a in SHOWN}
    result = {a: sum(r) / len(r) for a, r in right.items()}
    result["all four"] = sum(all(r) for r in zip(*right.values(), strict=True)) / len(scenes)
    return result
