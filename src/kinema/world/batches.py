"""The Small World as training data: any list of indices becomes pixels and captions, and never anything else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.world.captions import caption
from kinema.world.renderer import render, whole_view
from kinema.world.scene import Scene, WorldSpec, sample_scene


@dataclass(frozen=True, kw_only=True)
class WorldClips:
    """Clips of a split as tensors. Pure in the indices, so a run's data position is its step.

    With `num_frames=1` the one frame is taken at a random time of the scene: a picture with a caption. A frame
    that is narrower than high is seen from further back, so that it holds everything that its caption names.
    """

    spec: WorldSpec
    split: str = "train"
    num_frames: int = 16
    height: int = 64
    width: int = 64

    def scenes(self, indices: Sequence[int]) -> list[Scene]:
        """The scenes behind the indices."""
        return [sample_scene(self.split, i, self.spec) for i in indices]

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Frames at each scene's own rate: float32 (B, 3, T, H, W) in [-1, 1]."""
        scenes = self.scenes(indices)
        start = None
        if self.num_frames == 1:
            start = [s.duration * random.Random(f"moment:{s.seed}").random() for s in scenes]
        out = torch.empty(len(scenes), 3, self.num_frames, self.height, self.width, dtype=torch.uint8)
        for fps in sorted({s.fps for s in scenes}):
            rows = [k for k, s in enumerate(scenes) if s.fps == fps]
            out[rows] = render(
                [scenes[k] for k in rows],
                self.num_frames,
                self.height,
                self.width,
                fps,
                [start[k] for k in rows] if start else None,
                whole_view(self.height, self.width),
            )
        return out.float().div_(127.5).sub_(1)

    def captions(self, indices: Sequence[int]) -> list[str]:
        """One phrasing for each scene."""
        return [caption(s) for s in self.scenes(indices)]
