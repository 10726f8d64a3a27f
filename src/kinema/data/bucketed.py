"""Clips of mixed sizes and lengths, batch by batch from one bucket: a pure function of the step."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from kinema.data.batches import ClipBatch, ClipBatches
from kinema.data.buckets import BucketOrder, Buckets, Fit, fair_turns
from kinema.data.dataset import MediaDataset
from kinema.errors import UserError

logger = logging.getLogger("kinema.data")


class Place(Protocol):
    """A place in a run, such as the training loop's BatchIndex."""

    @property
    def step(self) -> int:
        """The optimiser step."""

    @property
    def microbatch(self) -> int:
        """Its number within the step, over all processes."""

    @property
    def indices(self) -> range:
        """Global sample numbers of this batch: from step * batch_size on, divided over processes."""


def fit_clips(dataset: MediaDataset, buckets: Buckets) -> list[Fit | None]:
    """The bucket of every clip; None for one that cannot be opened (reading it later names it)."""
    found: list[Fit | None] = []
    for index in range(len(dataset)):
        try:
            facts = dataset.measure(index)
            found.append(buckets.fit(facts.height, facts.width, facts.num_frames, facts.fps))
        except (UserError, OSError) as error:
            logger.warning("%s fits no bucket: %s", dataset.samples[index].key, error)
            found.append(None)
    return found


class BucketedClips:
    """`batches(index)` gives clips of one bucket, each at the rate at which it fills the bucket's frames.

    Within a bucket every clip is seen once an epoch. Which bucket a step takes, and which clips, hangs on the step
    alone, so a run resumes exactly and is divided over processes without a difference. A bucket of smaller samples
    gives more of them a step (`Buckets.per_sample`).

    Args:
        seed: of the order of buckets and clips, and of temporal crops.
        cache_bytes, cache_folder, disk_bytes: of decoded frames, over all buckets.
    """

    def __init__(
        self,
        dataset: MediaDataset,
        buckets: Buckets,
        *,
        seed: int = 0,
        crops: int = 4,
        workers: int = 0,
        cache_bytes: int = 0,
        cache_folder: str | Path | None = None,
        disk_bytes: int = 8 * 2**30,
    ) -> None:
        self.buckets = buckets
        fits = fit_clips(dataset, buckets)
        members: dict[int, list[int]] = {}
        for index, fit in enumerate(fits):
            if fit is not None:
                members.setdefault(fit.bucket, []).append(index)
        if not members:
            raise UserError("no clip of the data set can be opened, so none fits a bucket: check the files")
        self.clips: dict[int, ClipBatches] = {}
        for number, indices in sorted(members.items()):
            bucket, share = buckets.all[number], len(indices) / len(dataset)
            self.clips[number] = ClipBatches(
                dataset.part([dataset.samples[index] for index in indices]),
                num_frames=bucket.num_frames,
                height=bucket.height,
                width=bucket.width,
                fps=[fit.fps for fit in fits if fit is not None and fit.bucket == number],
                seed=seed,
                crops=crops,
                workers=workers,
                cache_bytes=int(cache_bytes * share),
                cache_folder=cache_folder,
                disk_bytes=int(disk_bytes * share),
            )
        self.counts = [len(members.get(number, ())) for number in range(len(buckets.all))]
        costs = [count / buckets.per_sample(number) for number, count in enumerate(self.counts)]
        self.order = BucketOrder(fair_turns(costs), seed)

    def __call__(self, index: Place) -> ClipBatch:
        """The clips of this place in the run. Raises UserError (see `MediaDataset`)."""
        bucket, turn = self.order(index.step)
        return self.clips[bucket](bucket_numbers(index, turn, self.buckets.per_sample(bucket)))


def bucket_numbers(index: Place, turn: int, per_sample: int) -> range:
    """A bucket's own sample numbers for a place in the run: of its `turn`-th step, the part that this microbatch is.

    All microbatches of a stage are equally large, so the place alone says how large a step is.
    """
    size = len(index.indices)
    first = index.microbatch * size
    whole = (
        (index.indices.start - first) // index.step if index.step else 0
    )  # before the first step none has a turn
    start = (turn * whole + first) * per_sample
    return range(start, start + size * per_sample)
