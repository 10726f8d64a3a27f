"""Folders, tar shards and tables of media, turned into captioned training clips."""

from __future__ import annotations

from kinema.data.batches import ClipBatch, ClipBatches
from kinema.data.clips import Limits, read_clip
from kinema.data.dataset import MediaDataset
from kinema.data.open import open_dataset
from kinema.data.sample import Sample, split_of

__all__ = [
    "ClipBatch",
    "ClipBatches",
    "Limits",
    "MediaDataset",
    "Sample",
    "open_dataset",
    "read_clip",
    "split_of",
]
