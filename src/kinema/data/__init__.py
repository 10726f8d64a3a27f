"""Folders, tar shards and tables of media, turned into captioned training clips."""

from __future__ import annotations

from kinema.data.batches import ClipBatch, ClipBatches
from kinema.data.bucketed import BucketedClips
from kinema.data.buckets import Bucket, Buckets, Duration
from kinema.data.clips import ClipFacts, Limits, measure_clip, read_clip
from kinema.data.dataset import MediaDataset
from kinema.data.open import open_dataset
from kinema.data.sample import Sample, split_of

__all__ = [
    "Bucket",
    "BucketedClips",
    "Buckets",
    "ClipBatch",
    "ClipBatches",
    "ClipFacts",
    "Duration",
    "Limits",
    "MediaDataset",
    "Sample",
    "measure_clip",
    "open_dataset",
    "read_clip",
    "split_of",
]
