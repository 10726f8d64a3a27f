"""Batches of clips for training: a pure function of the global sample numbers, so a resumed run sees the same."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.data.dataset import MediaDataset
from kinema.errors import UserError


class HasIndices(Protocol):
    """Anything with global sample numbers, such as the training loop's BatchIndex."""

    @property
    def indices(self) -> Sequence[int]:
        """Global sample numbers of this batch."""


@dataclass(frozen=True)
class ClipBatch:
    """video float32 (B, 3, T, H, W) in [-1, 1], and for every clip its caption, its key and its frames a second.

    A rate is None where the file's own was taken.
    """

    video: Tensor
    captions: tuple[str, ...]
    keys: tuple[str, ...]
    rates: tuple[float | None, ...] = ()


class ClipBatches:
    """`batches(indices)` decodes the clips of these global sample numbers; pass it as a stage's `batches`.

    Sample number g is in epoch g // len(dataset), at a place of that epoch's own permutation (from `seed`).
    fps: one rate, or one for each clip of the data set, or None for each file's own.
    crops: how many different temporal crops of a clip are ever cut; epoch e uses crop e % crops, and a cache
    keeps at most that many of each clip. workers: threads that decode one batch (decoding frees Python's lock).
    cache_bytes, cache_folder, disk_bytes: keep decoded frames in memory, and in a folder, up to these sizes.
    """

    def __init__(
        self,
        dataset: MediaDataset,
        *,
        num_frames: int,
        height: int,
        width: int,
        fps: float | Sequence[float] | None = None,
        seed: int = 0,
        shuffle: bool = True,
        crops: int = 4,
        workers: int = 0,
        cache_bytes: int = 0,
        cache_folder: str | Path | None = None,
        disk_bytes: int = 8 * 2**30,
    ) -> None:
        if crops < 1 or workers < 0:
            raise UserError(f"crops={crops}, workers={workers}: expected at least 1 crop and 0 workers")
        rates = (fps,) * len(dataset) if fps is None or isinstance(fps, int | float) else tuple(fps)
        if len(rates) != len(dataset):
            raise UserError(f"there are {len(rates)} rates for {len(dataset)} clips: give one a clip")
        self.dataset, self.seed, self.shuffle, self.crops = dataset, seed, shuffle, crops
        self.size, self.rates = (num_frames, height, width), rates
        self._pool = ThreadPoolExecutor(workers, "kinema-clips") if workers else None
        self._orders: dict[int, npt.NDArray[np.int64]] = {}
        self._lock = threading.Lock()
        self._cache = None
        if cache_bytes or cache_folder is not None:
            from kinema.train.cache import FeatureCache

            clips = [
                sample.key for sample in dataset.samples
            ]  # a cached row names its clip by its place here
            text = repr((self.size, self.rates, dataset.short, seed, clips))
            identity = "clips-" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
            self._cache = FeatureCache(
                identity, folder=cache_folder, memory_bytes=cache_bytes, disk_bytes=disk_bytes
            )

    def __call__(self, batch: Sequence[int] | HasIndices) -> ClipBatch:
        """The clips of these global sample numbers, in their order. Raises UserError (see `MediaDataset`)."""
        numbers: Sequence[int] = batch.indices if hasattr(batch, "indices") else batch
        if not len(numbers):
            raise UserError("the batch has no sample numbers: expected at least one")
        places = [self.place(int(number)) for number in numbers]
        if self._cache is None:
            frames, used = self._decode(places)
        else:
            keys = [self._cache_key(index, crop) for index, crop in places]
            found = self._cache.lookup(keys, lambda missing: self._features([places[i] for i in missing]))
            frames, used = found["frames"], [int(index) for index in found["index"]]
        video = frames.permute(0, 4, 1, 2, 3).to(torch.float32).div_(127.5).sub_(1.0).contiguous()
        captions = tuple(
            self.dataset.caption(index, mix(self.seed, int(number)))
            for index, number in zip(used, numbers, strict=True)
        )
        return ClipBatch(
            video,
            captions,
            tuple(self.dataset.samples[index].key for index in used),
            tuple(self.rates[index] for index, _ in places),
        )

    def place(self, number: int) -> tuple[int, int]:
        """(index in the data set, crop) of a global sample number."""
        if number < 0:
            raise UserError(f"the sample number is {number}: expected 0 or more")
        epoch, position = divmod(number, len(self.dataset))
        return (int(self._order(epoch)[position]) if self.shuffle else position), epoch % self.crops

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        with self._lock:
            if epoch not in self._orders:
                if len(self._orders) >= 4:
                    del self._orders[next(iter(self._orders))]
                generator = np.random.default_rng([self.seed % 2**63, epoch])
                self._orders[epoch] = generator.permutation(len(self.dataset))
            return self._orders[epoch]

    def _decode(self, places: list[tuple[int, int]]) -> tuple[Tensor, list[int]]:
        def one(place: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], int]:
            index, crop = place
            return self.dataset.clip(
                index, *self.size, fps=self.rates[index], seed=mix(self.seed, index, crop)
            )

        results = list(self._pool.map(one, places) if self._pool else map(one, places))
        frames = torch.from_numpy(np.stack([frames for frames, _ in results]))
        return frames, [index for _, index in results]

    def _features(self, places: list[tuple[int, int]]) -> dict[str, Tensor]:
        frames, used = self._decode(places)
        return {"frames": frames, "index": torch.tensor(used)}

    def _cache_key(self, index: int, crop: int) -> tuple[str, str, int]:
        sample = self.dataset.samples[index]
        try:
            identity = sample.source.identity()
        except OSError:
            identity = "missing"
        return sample.key, identity, crop


def mix(*numbers: int) -> int:
    """One 63-bit seed out of several numbers."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
