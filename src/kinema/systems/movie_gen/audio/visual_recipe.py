"""Nano's frame encoder, trained to say of a frame of the Small World what it sounds like and when something strikes.

What the heads needed stays in the features; those of impacts, material, family and background are kept, for choosing
among sounds. Struck within the frame and the time to the nearest impact make the features precise to less than a frame.
"""

# B clips, T frames, F feature width

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.systems.movie_gen.audio.visual import REACH, FrameNet
from kinema.train import Stage
from kinema.world import atlas
from kinema.world.renderer import render
from kinema.world.scene import BACKGROUNDS, MOTIONS, Scene, WorldSpec, sample_scene
from kinema.world.sound.events import MATERIALS, onsets, speed

RATES = (8.0, 12.0, 16.0, 25.0)  # frames a second of the clips; the paper's video has 16
SPEC = WorldSpec(vocabulary="nano", actor_odds=(0.86, 0.12, 0.02), static_camera=0.6, appealing=0.25)
FRAMES = 12  # of a training clip
FASTEST = 1.5  # frame heights a second that count as 1


@dataclass
class FrameBatch:
    """Clips (B, T, 3, H, W) in [-1, 1], their rates (B,), and what each frame is to tell."""

    frames: Tensor
    fps: Tensor
    struck: Tensor  # (B, T) 1 where the subject or a companion strikes while the frame is shown
    when: Tensor  # (B, T) time to the nearest impact over REACH, in [-1, 1]
    near: Tensor  # (B, T) bool, whether there is one within REACH
    speed: Tensor  # (B, T) of the subject over FASTEST
    labels: dict[str, Tensor]  # name -> (B,) class of the subject


def kept_heads() -> dict[str, int]:
    """The heads that stay with the encoder: struck, when and speed, and three of the classes."""
    sizes = class_sizes()
    return {"events": 3} | {name: sizes[name] for name in ("material", "family", "background")}


def class_sizes() -> dict[str, int]:
    """What is told of the subject and its place, with the number of answers."""
    return {
        "identity": len(atlas.artworks()),
        "family": len(atlas.families()),
        "material": len(MATERIALS),
        "motion": len(MOTIONS),
        "background": len(BACKGROUNDS),
    }


class SeeingFrames(nn.Module):
    """The encoder and all heads, for the training loop."""

    def __init__(self, encoder: FrameNet) -> None:
        super().__init__()
        self.encoder = encoder
        wanted = {"events": 3} | class_sizes()
        self.others = nn.ModuleDict(
            {k: nn.Linear(encoder.dim, n) for k, n in wanted.items() if k not in encoder.heads}
        )

    def forward(self, frames: Tensor, fps: Tensor) -> dict[str, Tensor]:
        features = self.encoder(frames, fps)
        told = self.encoder.told(features)
        told |= {name: head(features) for name, head in self.others.items()}  # (B, T, classes)
        struck, when, speed = told.pop("events").unbind(2)  # (B, T)
        return told | {"struck": struck, "when": when, "speed": speed}


def frame_truth(scene: Scene, times: list[float], fps: float) -> tuple[list[float], list[float], list[float]]:
    """For each frame's time: struck while it is shown (0 or 1), seconds to the nearest impact, the subject's speed."""
    hits = [event.time for event in onsets(scene, ("impact",))]
    struck = [float(any(t <= hit < t + 1 / fps for hit in hits)) for t in times]
    when = [min((hit - t for hit in hits), key=abs, default=1e9) for t in times]
    return struck, when, [speed(scene.subject, t, scene.duration) for t in times]


def clip_batch(numbers: range, split: str = "train") -> FrameBatch:
    """Clips of the scenes with these numbers, each from its own moment and at its own rate."""
    scenes = [sample_scene(split, number, SPEC) for number in numbers]
    rates = [RATES[number % len(RATES)] for number in numbers]
    # Each scene's moment is drawn by its seed, so that the end of a scene is seen as often as its beginning.
    starts = [
        (scene.seed % 1009) / 1009 * max(scene.duration - FRAMES / fps, 0.0)
        for scene, fps in zip(scenes, rates, strict=True)
    ]
    frames = torch.cat(
        [
            render([scene], FRAMES, fps=fps, start=[start])
            for scene, fps, start in zip(scenes, rates, starts, strict=True)
        ]
    )
    truth = [
        frame_truth(scene, [start + k / fps for k in range(FRAMES)], fps)
        for scene, fps, start in zip(scenes, rates, starts, strict=True)
    ]
    struck, when, going = (torch.tensor([row[i] for row in truth]) for i in range(3))
    families = atlas.families()
    labels = {
        "identity": [s.subject.artwork for s in scenes],
        "family": [families.index(s.subject.family) for s in scenes],
        "material": [MATERIALS.index(s.subject.material) for s in scenes],
        "motion": [list(MOTIONS).index(s.subject.motion) for s in scenes],
        "background": [BACKGROUNDS.index(s.background) for s in scenes],
    }
    return FrameBatch(
        frames=frames.transpose(1, 2).float().div_(127.5).sub_(1),
        fps=torch.tensor(rates),
        struck=struck,
        when=(when / REACH).clamp(-1, 1),
        near=when.abs() < REACH,
        speed=(going / FASTEST).clamp(max=1.5),
        labels={name: torch.tensor(values) for name, values in labels.items()},
    )


def frame_loss(
    model: nn.Module, batch: FrameBatch, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropies of what is seen and the impact's presence and time; the generator is not needed."""
    told = model(batch.frames, batch.fps)
    total = 4 * F.binary_cross_entropy_with_logits(told["struck"].float(), batch.struck)
    off = F.smooth_l1_loss(told["when"].float(), batch.when, reduction="none", beta=0.1)
    near = batch.near.float()
    total = total + 4 * (off * near).sum() / near.sum().clamp(min=1.0)
    total = total + F.smooth_l1_loss(told["speed"].float(), batch.speed)
    logs: dict[str, Tensor] = {}
    for name, labels in batch.labels.items():
        target = labels[:, None].expand(-1, told[name].shape[1])  # (B, T)
        total = total + 0.5 * F.cross_entropy(told[name].float().flatten(0, 1), target.flatten())
        logs[f"{name}_accuracy"] = (told[name].argmax(2) == target).float().mean()
    agreed = ((told["struck"] > 0) & (batch.struck > 0)).sum()
    logs["struck_f1"] = 2 * agreed / ((told["struck"] > 0).sum() + batch.struck.sum()).clamp(min=1.0)
    missed = ((told["when"].float() - batch.when).abs() * near).sum() / near.sum().clamp(min=1.0)
    logs["impact_error_ms"] = 1000 * REACH * missed.detach()
    return total, logs


@torch.no_grad()
def measure(model: nn.Module, clips: int = 256) -> dict[str, float]:
    """The heads' accuracy on held-out clips."""
    found: dict[str, float] = {}
    starts = range(0, clips, 32)
    for start in starts:
        _, logs = frame_loss(model, clip_batch(range(start, start + 32), "val"), torch.Generator())
        for name, value in logs.items():
            found[name] = found.get(name, 0.0) + float(value) / len(starts)
    return found


def frame_stage(seeing: SeeingFrames, steps: int = 3900, batch_size: int = 32) -> Stage:
    """The training stage of the frame encoder."""
    return Stage(
        name="frames",
        model=seeing,
        loss=frame_loss,
        batches=lambda index: clip_batch(index.indices),
        steps=steps,
        batch_size=batch_size,
        lr=2e-3,
        weight_decay=0.01,
        schedule="cosine",
        warmup_steps=min(50, steps // 2),
        log_every=50,
        checkpoint_every=500,
        validate=lambda model, folder: measure(model),
    )
