"""A list of captioned clips that can be read at any index; broken files are skipped, counted and named."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from kinema.data.clips import ClipFacts, Frames, Limits, Short, measure_clip, read_clip
from kinema.data.sample import Sample, split_of
from kinema.errors import UserError

logger = logging.getLogger("kinema.data")


class MediaDataset:
    """Samples in a fixed order; `sample(index, ...)` is a pure function of its arguments and the files.

    broken: {key: reason} of what opening found unusable. max_broken: the share of broken clips that stops the
    run. short: what a clip that is too short does, "hold" its last frame or "loop". Safe to use from threads.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        broken: Mapping[str, str] | None = None,
        *,
        max_broken: float = 0.01,
        short: Short = "hold",
        limits: Limits | None = None,
    ) -> None:
        if not samples:
            raise UserError("the data set has no clips that can be used: check its files and captions")
        if short not in ("hold", "loop") or not 0 <= max_broken <= 1:
            raise UserError(
                f"short={short!r}, max_broken={max_broken}: expected 'hold' or 'loop', and 0 to 1"
            )
        self.samples = tuple(samples)
        self.max_broken, self.short, self.limits = max_broken, short, limits or Limits()
        self.broken: dict[str, str] = dict(broken or {})
        self._total = len(samples) + len(self.broken)
        self._lock = threading.Lock()
        self._check()  # a folder of another kind is one sentence, not a warning for each of its files
        if self.broken:
            logger.warning("skipped %d of %d clips; %s", len(self.broken), self._total, self._named())

    def __len__(self) -> int:
        return len(self.samples)

    def sample(
        self,
        index: int,
        num_frames: int,
        height: int,
        width: int,
        fps: float | None = None,
        seed: int = 0,
    ) -> tuple[Frames, str]:
        """(frames uint8 (num_frames, height, width, 3), caption): a random crop of clip `index`, from `seed`.

        The clip is scaled with its proportions kept and cut from the centre. When it cannot be decoded the next
        clip that can takes its place. Raises UserError when more than `max_broken` of all clips are broken.
        """
        frames, used = self.clip(index, num_frames, height, width, fps, seed)
        return frames, self.caption(used, seed)

    def clip(
        self, index: int, num_frames: int, height: int, width: int, fps: float | None = None, seed: int = 0
    ) -> tuple[Frames, int]:
        """The frames of `sample`, and the index that they come from: `index`, or its stand-in."""
        index = self._valid(index)
        for step in range(len(self)):
            used = (index + step) % len(self)
            if self.samples[used].key in self.broken:
                continue
            try:
                return self.decode(used, num_frames, height, width, fps, seed), used
            except (UserError, OSError) as error:
                self._report(self.samples[used].key, str(error))
        raise UserError(f"none of the {len(self)} clips can be decoded; {self._named()}")

    def decode(
        self, index: int, num_frames: int, height: int, width: int, fps: float | None = None, seed: int = 0
    ) -> Frames:
        """The frames of exactly this clip. Raises UserError or OSError when it is broken; counts nothing."""
        sample = self.samples[self._valid(index)]
        options: dict[str, Any] = {"num_frames": num_frames, "height": height, "width": width, "fps": fps}
        with sample.source.open() as handle:
            return read_clip(handle, sample.key, seed=seed, short=self.short, limits=self.limits, **options)

    def measure(self, index: int) -> ClipFacts:
        """Size, frames and rate of exactly this clip. Raises UserError or OSError when it is broken."""
        sample = self.samples[self._valid(index)]
        with sample.source.open() as handle:
            return measure_clip(handle, sample.key, self.limits)

    def caption(self, index: int, seed: int = 0) -> str:
        """One of the clip's captions, chosen by `seed`."""
        captions = self.samples[self._valid(index)].captions
        return captions[int(np.random.default_rng([seed % 2**63, 0xCA9]).integers(len(captions)))]

    def scan(self) -> dict[str, str]:
        """Decode one small frame of every clip now, before training starts; {key: reason} of the broken ones."""
        for index in range(len(self)):
            self.clip(index, 1, 16, 16)
        return dict(self.broken)

    def split(
        self,
        part: Literal["train", "heldout"],
        fraction: float = 0.05,
        group: Callable[[Sample], str] | None = None,
    ) -> MediaDataset:
        """The clips on one side of `split_of`, as a data set of their own."""
        chosen = [sample for sample in self.samples if split_of(sample, fraction, group) == part]
        if not chosen:
            raise UserError(
                f"the {part} part of {len(self)} clips is empty at fraction={fraction}: choose another fraction"
            )
        return self.part(chosen)

    def part(self, samples: Sequence[Sample]) -> MediaDataset:
        """A data set of these samples with the same settings."""
        return MediaDataset(samples, max_broken=self.max_broken, short=self.short, limits=self.limits)

    def _valid(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise UserError(f"the index is {index}: expected 0 to {len(self) - 1}")
        return int(index)

    def _report(self, key: str, reason: str) -> None:
        with self._lock:
            if key in self.broken:
                return
            self.broken[key] = reason
        logger.warning("skipped %s: %s", key, reason)
        self._check()

    def _check(self) -> None:
        if len(self.broken) > self.max_broken * self._total:
            raise UserError(
                f"{len(self.broken)} of {self._total} clips are broken, more than max_broken={self.max_broken:g} "
                f"allows: repair or remove them, or raise max_broken; {self._named()}"
            )

    def _named(self) -> str:
        named = [f"{key}: {reason}" for key, reason in list(self.broken.items())[:5]]
        more = len(self.broken) - len(named)
        return "; ".join(named) + (f"; and {more} more" if more else "")
