"""One captioned clip of a data set: where its bytes are, what it is called, which group it belongs to."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from kinema.errors import UserError

VIDEO_EXTENSIONS = frozenset({"mp4", "mov", "m4v", "webm", "mkv", "avi", "ts", "gif"})
IMAGE_EXTENSIONS = frozenset({"png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "avif"})
MEDIA_EXTENSIONS = VIDEO_EXTENSIONS | IMAGE_EXTENSIONS


@dataclass(frozen=True)
class FileSource:
    """A file of its own."""

    path: Path

    def open(self) -> BinaryIO:
        """The file, open for reading."""
        return open(self.path, "rb")

    def identity(self) -> str:
        """Changes when the file's content is replaced: its size and time."""
        stat = self.path.stat()
        return f"{stat.st_size}:{stat.st_mtime_ns}"


@dataclass(frozen=True)
class TarSource:
    """A member of an uncompressed tar shard, by its place; nothing is unpacked."""

    shard: Path
    offset: int
    size: int

    def open(self) -> BinaryIO:
        """The member's bytes in memory."""
        with open(self.shard, "rb") as handle:
            handle.seek(self.offset)
            return io.BytesIO(handle.read(self.size))

    def identity(self) -> str:
        """Changes when the shard is replaced: its time, and the member's place."""
        return f"{self.shard.stat().st_mtime_ns}:{self.offset}:{self.size}"


@dataclass(frozen=True)
class Sample:
    """`key` is unique in its data set and never a path of the machine; `group` keeps twins in one split."""

    key: str
    captions: tuple[str, ...]
    source: FileSource | TarSource
    group: str = ""


def split_of(
    sample: Sample, fraction: float, group: Callable[[Sample], str] | None = None
) -> Literal["train", "heldout"]:
    """Which side a sample is on: about `fraction` of all groups are held out, whole groups at a time.

    A pure function of the group's name, so a data set that grows keeps its old clips where they were. The group
    is `group(sample)`, else `sample.group`, else the sample's own key.
    """
    if not 0.0 <= fraction <= 1.0:
        raise UserError(f"the held-out fraction is {fraction}: expected 0 to 1")
    name = (group(sample) if group is not None else sample.group) or sample.key
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    return "heldout" if number < fraction * 2**64 else "train"
