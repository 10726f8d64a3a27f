"""What the visual judges can answer, and how their few outputs make up every attribute."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from kinema.world import atlas
from kinema.world.scene import BACKGROUNDS, CAMERAS, DIRECTIONS, MOTIONS, Scene

ATTRIBUTES = ("identity", "family", "colour", "background", "motion", "direction", "camera")

# A motion with its direction is one act: the network decides once, and both attributes are sums over acts.
ACTS: tuple[tuple[str, str], ...] = tuple((m, d) for m, directions in MOTIONS.items() for d in directions)


@lru_cache(maxsize=1)
def names() -> dict[str, tuple[str, ...]]:
    """The possible answers of every attribute, in the order of its probabilities."""
    return {
        "identity": tuple(a.name for a in atlas.artworks()),
        "family": atlas.families(),
        "colour": tuple(dict.fromkeys(a.colour for a in atlas.artworks())),
        "background": BACKGROUNDS,
        "motion": tuple(MOTIONS),
        "direction": DIRECTIONS,
        "camera": CAMERAS,
    }


@lru_cache(maxsize=1)
def groups() -> dict[str, Tensor]:
    """Which group each object (family, colour) or act (motion, direction) belongs to: int64 indices."""
    known, works = names(), atlas.artworks()
    return {
        "family": torch.tensor([known["family"].index(a.family) for a in works]),
        "colour": torch.tensor([known["colour"].index(a.colour) for a in works]),
        "motion": torch.tensor([known["motion"].index(m) for m, _ in ACTS]),
        "direction": torch.tensor([known["direction"].index(d) for _, d in ACTS]),
    }


def summed(probabilities: Tensor, attribute: str) -> Tensor:
    """Probabilities of a group from those of its members: (B, members) -> (B, groups)."""
    out = probabilities.new_zeros(len(probabilities), len(names()[attribute]))
    return out.index_add_(1, groups()[attribute].to(probabilities.device), probabilities)


def truth(scene: Scene) -> dict[str, str]:
    """The right answer for every attribute of a scene; about the subject only."""
    subject = scene.subject
    return {
        "identity": subject.name,
        "family": subject.family,
        "colour": subject.colour,
        "background": scene.background,
        "motion": subject.motion,
        "direction": subject.direction,
        "camera": scene.camera,
    }


def sign_word(scene: Scene) -> str:
    """What a scene's sign says, or nothing; an attribute of its own (`judges.signs` reads it), none of ATTRIBUTES."""
    return scene.sign.word if scene.sign else ""


def targets(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Class numbers that the networks are trained on: object, background, act, camera, each int64 (B,)."""
    return {
        "object": torch.tensor([s.subject.artwork for s in scenes]),
        "background": torch.tensor([BACKGROUNDS.index(s.background) for s in scenes]),
        "act": torch.tensor([ACTS.index((s.subject.motion, s.subject.direction)) for s in scenes]),
        "camera": torch.tensor([CAMERAS.index(s.camera) for s in scenes]),
    }
