"""Buckets: clips of like shape and length share a batch, so that nothing is padded and little is cut away.

Movie Gen (2410.13720, sections on data and on training) sorts clips into five aspect ratios and five durations; all
samples of a bucket share the latent's shape. Its durations are published, its five ratios are not: those are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError

RATIOS = (16 / 9, 4 / 3, 1.0, 3 / 4, 9 / 16)  # width / height


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Clips of `seconds` = (shortest, longest) that are all shown in `num_frames` frames, so each has its own rate."""

    num_frames: int
    seconds: tuple[float, float]

    def __post_init__(self) -> None:
        if self.num_frames < 1 or not 0 < self.seconds[0] <= self.seconds[1]:
            raise UserError(
                f"a duration of {self.num_frames} frames over {self.seconds} seconds is none: give at least one frame, "
                "and (shortest, longest) above 0"
            )

    @property
    def rates(self) -> tuple[float, float]:
        """Frames a second of the longest and of the shortest clip."""
        return self.num_frames / self.seconds[1], self.num_frames / self.seconds[0]

    def fps(self, seconds: float) -> float:
        """The rate at which a clip of this length fills the frames; a longer one is cropped, a shorter one held."""
        return self.num_frames / min(max(seconds, self.seconds[0]), self.seconds[1])


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """The shape that all samples of a batch have: frames, rows and columns."""

    num_frames: int
    height: int
    width: int

    @property
    def volume(self) -> int:
        """Pixels of a sample, over all its frames; tokens are in proportion to it."""
        return self.num_frames * self.height * self.width


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Where a clip goes: the number of its bucket in `Buckets.all`, and the rate at which its frames are taken."""

    bucket: int
    fps: float


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """Every size (height, width) with every duration."""

    sizes: tuple[tuple[int, int], ...]
    durations: tuple[Duration, ...]

    def __post_init__(self) -> None:
        if not self.sizes or not self.durations or min(side for size in self.sizes for side in size) < 1:
            raise UserError("buckets need at least one size of 1 pixel or more, and one duration")

    @cached_property
    def all(self) -> tuple[Bucket, ...]:
        """The buckets; size number s and duration number d meet in number s * len(durations) + d."""
        return tuple(
            Bucket(num_frames=duration.num_frames, height=height, width=width)
            for height, width in self.sizes
            for duration in self.durations
        )

    def fit(self, height: int, width: int, num_frames: int, fps: float) -> Fit:
        """The nearest bucket for a clip of this many frames, rows and columns at `fps` frames a second.

        The size is the one whose ratio is nearest, as a factor. The duration is the one that shows most of the clip's
        seconds without asking for frames that it does not have; among equals the one of more frames, then of the
        narrower range. A clip that no duration fits takes the one whose range is nearest. Raises UserError.
        """
        if min(height, width, num_frames) < 1 or not 0 < fps < math.inf:
            raise UserError(
                f"a clip of {num_frames} frames of {height}x{width} at {fps} a second fits no bucket: expected "
                "positive numbers"
            )
        ratio, seconds = math.log(width / height), num_frames / fps
        size = min(
            range(len(self.sizes)), key=lambda k: abs(math.log(self.sizes[k][1] / self.sizes[k][0]) - ratio)
        )
        slack = 0.5 / fps  # a clip may lack half a frame
        fitting = [
            k
            for k, duration in enumerate(self.durations)
            if seconds >= duration.seconds[0] - slack and duration.fps(seconds) <= 1.01 * fps
        ]
        if fitting:
            number = max(fitting, key=lambda k: _coverage(self.durations[k], seconds))
        else:
            number = min(range(len(self.durations)), key=lambda k: _distance(self.durations[k], seconds, fps))
        return Fit(bucket=size * len(self.durations) + number, fps=self.durations[number].fps(seconds))

    def per_sample(self, bucket: int) -> int:
        """How many samples of a bucket cost no more than one of the largest: 1 or more.

        With this factor on the batch size every step has about as many tokens, and no more than the largest.
        """
        return max(entry.volume for entry in self.all) // self.all[bucket].volume


def _coverage(duration: Duration, seconds: float) -> tuple[float, int, float]:
    low, high = duration.seconds
    return round(min(seconds, high), 2), duration.num_frames, low - high


def _distance(duration: Duration, seconds: float, fps: float) -> tuple[float, float]:
    """How far a clip is from a duration that it does not fit: in length first, then in rate, both as factors."""
    low = duration.seconds[0]
    return max(0.0, math.log(low / seconds)), max(0.0, math.log(duration.fps(seconds) / fps))


def sizes_of(side: int, multiple: int = 16, ratios: Sequence[float] = RATIOS) -> tuple[tuple[int, int], ...]:
    """(height, width) for each ratio width / height, as large as fits into the area of a square of `side`.

    Both are multiples of `multiple` (codec stride times patch), so ratios are met as nearly as that allows.
    """
    cells = side // multiple
    if cells < 1:
        raise UserError(f"side is {side} and must be at least {multiple}")
    shapes = [(short, cells * cells // short) for short in range(1, cells + 1)]
    found = []
    for ratio in ratios:
        long = max(ratio, 1 / ratio)
        shape = min(shapes, key=lambda sides: abs(math.log(sides[1] / sides[0] / long)))
        height, width = shape if ratio >= 1 else shape[::-1]
        found.append((height * multiple, width * multiple))
    return tuple(found)


MOVIE_GEN_DURATIONS = (  # 32, 32, 32, 24 and 16 latent frames
    Duration(num_frames=256, seconds=(256 / 24, 256 / 24)),  # 10.67 s at 24
    Duration(num_frames=256, seconds=(16.0, 16.0)),  # at 16
    Duration(num_frames=256, seconds=(12.0, 16.0)),  # at 21 to 16
    Duration(num_frames=192, seconds=(8.0, 12.0)),  # at 24 to 16
    Duration(num_frames=128, seconds=(4.0, 8.0)),  # at 32 to 16
)
PRESETS = {
    "movie-gen-256": Buckets(sizes=sizes_of(256), durations=MOVIE_GEN_DURATIONS),
    "movie-gen-768": Buckets(sizes=sizes_of(768), durations=MOVIE_GEN_DURATIONS),
    "nano": Buckets(
        sizes=((64, 64), (48, 64), (64, 48), (32, 64), (64, 32)),
        durations=(
            Duration(num_frames=16, seconds=(4 / 3, 2.0)),  # at 12 to 8
            Duration(num_frames=8, seconds=(2 / 3, 1.0)),  # at 12 to 8
        ),
    ),
}


class BucketOrder:
    """Which bucket a step takes: a pure function of the step, the same on every process.

    In each round bucket b has `turns[b]` steps, and the round's steps are shuffled (from `seed`).
    """

    def __init__(self, turns: Sequence[int], seed: int = 0) -> None:
        if not turns or min(turns) < 0 or sum(turns) < 1:
            raise UserError(f"turns are {tuple(turns)}: expected numbers of 0 or more, and at least one step")
        self.turns, self.seed = tuple(turns), seed

    def __call__(self, step: int) -> tuple[int, int]:
        """(bucket, how many steps of this bucket came before)."""
        lap, place = divmod(step, sum(self.turns))
        order = self._round(lap)
        bucket = int(order[place])
        return bucket, lap * self.turns[bucket] + int((order[:place] == bucket).sum())

    def _round(self, lap: int) -> npt.NDArray[np.int64]:
        steps = np.repeat(np.arange(len(self.turns)), self.turns)
        return np.random.default_rng([self.seed % 2**63, lap, 0xB0C]).permutation(steps)


def fair_turns(costs: Sequence[float], most: int = 4096) -> tuple[int, ...]:
    """Steps a round for buckets whose clips fill `costs` steps, so that every clip is seen about as often.

    The rarest bucket has eight turns in a round, or one where the round would have more than about `most` steps; an
    empty bucket has none. Raises UserError when all are empty.
    """
    if not sum(costs):
        raise UserError("there are no clips in any bucket")
    scale = min(8.0 / min(cost for cost in costs if cost), most / sum(costs))
    return tuple(max(1, round(scale * cost)) if cost else 0 for cost in costs)
