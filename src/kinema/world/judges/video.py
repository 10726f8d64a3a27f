"""The visual judge: reads from a clip what its subject is, what it does, where, and how the camera moves.

judge = VideoJudge.load()
reading = judge.read(clips)[0]          # clips: float (B, 3, T, H, W) in [-1, 1]
reading.identity.label, reading.motion.probability

python -m kinema.world.judges.video evaluate           the judge's own accuracy on true renders
python -m kinema.world.judges.video train --out DIR    the recipe that made the weights
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from kinema.errors import UserError
from kinema.weights import load_strict, read_weights
from kinema.world.judges.acts import Motion, new_motion
from kinema.world.judges.labels import names, summed
from kinema.world.judges.networks import FRAMES, SIZE

FILE = "video_judge.safetensors"
SHARPEN = (
    2.0  # eight frames know more than one: the mean of their logits times this is surest where it is right
)
MAIN_TABLE = "val/full"


@dataclass(frozen=True)
class Answer:
    """The most probable label, and its probability."""

    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the judge sees in one clip. Everything but background and camera is about the subject."""

    identity: Answer
    family: Answer
    colour: Answer
    background: Answer
    motion: Answer
    direction: Answer
    camera: Answer

    def labels(self) -> dict[str, str]:
        """Attribute -> label."""
        return {item.name: getattr(self, item.name).label for item in fields(self)}


def prepared(clips: Tensor) -> Tensor:
    """Clips of any size and length as the networks take them: (B, 3, T, H, W) -> (B, 3, 16, 64, 64) in [-1, 1].

    Frames are picked evenly from the first to the last; pictures are scaled to a square with an antialiased filter.
    """
    if clips.ndim != 5 or clips.shape[1] != 3 or min(clips.shape[2:]) < 1 or not clips.is_floating_point():
        raise UserError(
            f"clips of shape {tuple(clips.shape)} and type {clips.dtype}: the judge expects float "
            "(batch, 3, frames, height, width) in [-1, 1]"
        )
    if not bool(clips.isfinite().all()):
        raise UserError("the clips hold values that are not finite: the judge cannot read them")
    clips = clips.float().clamp(-1, 1)
    if clips.shape[2] != FRAMES:
        chosen = torch.linspace(0, clips.shape[2] - 1, FRAMES).round().long()
        clips = clips[:, :, chosen.to(clips.device)]
    if clips.shape[3:] != (SIZE, SIZE):
        flat = clips.transpose(1, 2).flatten(0, 1)
        flat = F.interpolate(flat, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        clips = flat.unflatten(0, (-1, FRAMES)).transpose(1, 2).clamp(-1, 1)
    return clips


class VideoJudge:
    """The networks, and what they were measured to be worth on true renders.

    `figures`: "split/vocabulary" -> attribute -> share of right answers.
    """

    def __init__(self, motion: Motion, figures: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self.motion = motion.eval()
        self.figures = {table: dict(row) for table, row in (figures or {}).items()}

    @property
    def accuracy(self) -> dict[str, float]:
        """Share of right answers per attribute on true renders of held-out scenes (split val, full vocabulary)."""
        return dict(self.figures.get(MAIN_TABLE, {}))

    @property
    def num_features(self) -> int:
        """D of `features`."""
        return 2 * self.motion.appearance.width + self.motion.dynamics.width

    @classmethod
    def load(cls, path: str | Path | None = None, device: str | torch.device = "cpu") -> VideoJudge:
        """The judge that comes with kinema, or one that the recipe wrote. Raises UserError for a file that is not."""
        if path is None:
            return _shipped(str(device))
        state, metadata = read_weights(path)
        motion = new_motion()
        load_strict(motion, state, path)
        try:
            figures = json.loads(metadata.get("accuracy", "{}"))
        except ValueError as error:
            raise UserError(
                f"'{path}' has no readable accuracy in its metadata: it is not a judge's file"
            ) from error
        return cls(motion.to(device), figures)

    def save(self, path: str | Path) -> None:
        """Write the networks as float16, with the measured accuracy in the metadata."""
        state = self.motion.state_dict()
        tensors = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
        save_file(tensors, path, metadata={"format": "pt", "accuracy": json.dumps(self.figures)})

    @torch.no_grad()
    def look(self, clips: Tensor, batch_size: int = 32) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Batch by batch: the probabilities of every attribute (b, classes), and features (b, D)."""
        device = next(self.motion.parameters()).device
        for part in clips.split(batch_size) if len(clips) else ():
            seen = prepared(part.to(device))
            found = self.motion(seen)
            identity, act = (found.objects.mean(1) * SHARPEN).softmax(1), found.acts.softmax(1)
            yield (
                {
                    "identity": identity,
                    "family": summed(identity, "family"),
                    "colour": summed(identity, "colour"),
                    "background": found.grounds.mean(1).softmax(1),
                    "motion": summed(act, "motion"),
                    "direction": summed(act, "direction"),
                    "camera": found.cameras.softmax(1),
                },
                torch.cat([found.subject.mean(1), found.motion], 1),
            )

    def study(self, clips: Tensor, batch_size: int = 32) -> tuple[list[Reading], Tensor]:
        """Readings and features of the same clips in one pass; see `read` and `features`."""
        readings: list[Reading] = []
        found: list[Tensor] = []
        for probabilities, features in self.look(clips, batch_size):
            best = {a: p.max(1) for a, p in probabilities.items()}
            values = {a: (b.values.tolist(), b.indices.tolist()) for a, b in best.items()}
            for row in range(len(features)):
                answers = {a: Answer(names()[a][v[1][row]], v[0][row]) for a, v in values.items()}
                readings.append(Reading(**answers))
            found.append(features.cpu())
        return readings, torch.cat(found) if found else torch.empty(0, self.num_features)

    def read(self, clips: Tensor, batch_size: int = 32) -> list[Reading]:
        """One reading for each clip of (B, 3, T, H, W) in [-1, 1], of any size and length.

        Raises UserError when the tensor is of another kind or holds values that are not finite.
        """
        return self.study(clips, batch_size)[0]

    def features(self, clips: Tensor, batch_size: int = 32) -> Tensor:
        """What both networks know before they answer, for a Frechet distance: float32 (B, 576)."""
        return self.study(clips, batch_size)[1]


@lru_cache(maxsize=2)
def _shipped(device: str) -> VideoJudge:
    with resources.as_file(resources.files("kinema.world").joinpath("assets", FILE)) as path:
        return VideoJudge.load(path, device)


def main(arguments: Sequence[str] | None = None) -> None:
    """The two commands of this module."""
    from kinema.world.judges import measure, recipe

    parser = argparse.ArgumentParser(prog="python -m kinema.world.judges.video")
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser(
        "train", help="train both networks from scratch, or go on where the folder stands"
    )
    training.add_argument("--out", type=Path, required=True, help="run folder; the judge is written into it")
    evaluation = commands.add_parser("evaluate", help="accuracy on true renders, split by split")
    evaluation.add_argument("--weights", type=Path, help="a judge's file; the one of kinema without it")
    for command in (training, evaluation):
        command.add_argument("--count", type=int, default=2000, help="clips of each split (default 2000)")
    given = parser.parse_args(arguments)
    if given.command == "train":
        judge = VideoJudge(recipe.train(given.out))
        judge.save(given.out / FILE)
        judge = VideoJudge.load(given.out / FILE)  # what is measured is what is shipped: rounded to float16
        results = measure.measure_all(judge, given.count)
        judge.figures = {table: result.shares() for table, result in results.items()}
        judge.save(given.out / FILE)
    else:
        results = measure.measure_all(VideoJudge.load(given.weights), given.count)
    sys.stdout.write(measure.table(results) + "\n")


if __name__ == "__main__":
    main()
