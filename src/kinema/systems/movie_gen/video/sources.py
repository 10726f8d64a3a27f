"""Clips with tagged captions from the Small World or from a folder: of one shape, or in buckets of like shape.

Movie Gen's joint stages draw from five aspect ratios and five durations, and mix one batch of pictures into ten of
clips (2410.13720, section on pre-training). The rate's tag goes with the clip: in a bucket each may have its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kinema.data import ClipBatches, MediaDataset, open_dataset
from kinema.data.bucketed import BucketedClips, bucket_numbers
from kinema.data.buckets import PRESETS, BucketOrder, Buckets, Duration
from kinema.errors import UserError
from kinema.systems.movie_gen.video.tags import tagged, training_texts
from kinema.train import BatchIndex
from kinema.world.batches import WorldClips
from kinema.world.scene import WorldSpec

RATES = (8.0, 12.0)  # frames a second, between which a clip of the world's length keeps its own


@dataclass
class Batch:
    """Pixels (B, 3, T, H, W) and the texts that the model reads with them."""

    pixels: Tensor
    texts: list[str]


def one_size(height: int, width: int, num_frames: int) -> Buckets:
    """A single bucket: what a stage at one resolution draws from."""
    seconds = (num_frames / RATES[1], num_frames / RATES[0])
    return Buckets(sizes=((height, width),), durations=(Duration(num_frames=num_frames, seconds=seconds),))


def find_buckets(name: str, most: tuple[int, int, int] | None = None) -> Buckets:
    """The named preset; `most` are the frames, height and width that a model reaches.

    Raises UserError with the names that there are, or when a bucket is too large for the model.
    """
    if name not in PRESETS:
        raise UserError(f"there are no buckets {name!r}; there are {', '.join(PRESETS)}")
    for bucket in PRESETS[name].all:
        size = (bucket.num_frames, bucket.height, bucket.width)
        if most is not None and any(side > limit for side, limit in zip(size, most, strict=True)):
            raise UserError(
                f"the buckets {name!r} hold clips of {'x'.join(map(str, size))} (frames, height, width) and these "
                f"weights reach {'x'.join(map(str, most))}: take smaller buckets, or grow the weights first"
            )
    return PRESETS[name]


class WorldSource:
    """Clips and pictures of a world with tagged captions; every `picture_every`-th step is pictures.

    pictures: the world of the pictures, where it is another. first: the number of the first scene.
    """

    def __init__(
        self,
        spec: WorldSpec,
        picture_every: int,
        pictures_per_clip: int = 4,
        pictures: WorldSpec | None = None,
        first: int = 0,
    ) -> None:
        self.clips, self.first = WorldClips(spec=spec), first
        self.pictures = WorldClips(spec=pictures or spec, num_frames=1)
        self.picture_every, self.pictures_per_clip = picture_every, pictures_per_clip

    def __call__(self, index: BatchIndex) -> Batch:
        if self.picture_every and index.step % self.picture_every == 0:
            start = self.first + index.indices.start * self.pictures_per_clip
            return self.drawn(
                self.pictures, range(start, start + len(index.indices) * self.pictures_per_clip)
            )
        start = self.first + index.indices.start
        return self.drawn(self.clips, range(start, start + len(index.indices)))

    def drawn(self, world: WorldClips, numbers: Sequence[int]) -> Batch:
        """Pixels and tagged captions of these scenes."""
        return Batch(world.pixels(numbers), training_texts(world.scenes(numbers), numbers))


class FolderSource:
    """Clips of a folder, shards or a table, captions with the frame rate's tag; decoded clips are kept."""

    def __init__(
        self, folder: Path, seed: int, num_frames: int = 16, size: int = 64, fps: float = 8.0
    ) -> None:
        self.fps = fps
        self.clips = ClipBatches(
            open_dataset(folder),
            num_frames=num_frames,
            height=size,
            width=size,
            fps=fps,
            seed=seed,
            cache_bytes=1 << 30,
        )

    def __call__(self, index: BatchIndex) -> Batch:
        found = self.clips(index.indices)
        return Batch(found.video, [tagged(text, self.fps) for text in found.captions])


class BucketedWorld:
    """Scenes of a world in a bucket's shape; every `picture_every`-th step is pictures of the bucket's size.

    `turns` are the steps that each bucket has in a round; None: one each. Scenes that a frame cannot hold as a square
    one would are seen from further back, so that captions stay true.
    """

    def __init__(
        self,
        spec: WorldSpec,
        buckets: Buckets,
        *,
        picture_every: int = 0,
        pictures_per_clip: int = 4,
        turns: Sequence[int] | None = None,
        split: str = "train",
        seed: int = 0,
    ) -> None:
        self.buckets = buckets
        self.picture_every, self.pictures_per_clip = picture_every, pictures_per_clip
        self.clips = [
            WorldClips(
                spec=spec, split=split, num_frames=entry.num_frames, height=entry.height, width=entry.width
            )
            for entry in buckets.all
        ]
        self.pictures = [
            WorldClips(spec=spec, split=split, num_frames=1, height=entry.height, width=entry.width)
            for entry in buckets.all
        ]
        chosen = [1] * len(buckets.all) if turns is None else turns
        if len(chosen) != len(buckets.all):
            raise UserError(f"there are {len(chosen)} turns for {len(buckets.all)} buckets: give one each")
        self.order = BucketOrder(chosen, seed)

    def __call__(self, index: BatchIndex) -> Batch:
        """The batch of this place in the run, a pure function of it."""
        bucket, _ = self.order(index.step)
        factor, clips = self.buckets.per_sample(bucket), self.clips[bucket]
        if self.picture_every and index.step % self.picture_every == 0:
            factor, clips = factor * self.pictures_per_clip, self.pictures[bucket]
        # Every scene is numbered by the step, not by the bucket's own turns: buckets then see different scenes.
        numbers = bucket_numbers(index, index.step, factor)
        return Batch(clips.pixels(numbers), training_texts(clips.scenes(numbers), numbers))


class BucketedFolder:
    """Clips of a data set by their real ratio and length, captions with each clip's own rate."""

    def __init__(
        self,
        dataset: MediaDataset,
        buckets: Buckets,
        *,
        seed: int = 0,
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.clips = BucketedClips(dataset, buckets, seed=seed, cache_bytes=cache_bytes)

    def __call__(self, index: BatchIndex) -> Batch:
        """The batch of this place in the run, a pure function of it."""
        found = self.clips(index)
        texts = [tagged(text, rate or 0.0) for text, rate in zip(found.captions, found.rates, strict=True)]
        return Batch(found.video, texts)
