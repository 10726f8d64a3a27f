"""One door to every kind of data set on disk."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from kinema.data.dataset import MediaDataset
from kinema.data.folder import Found, read_jsonl, read_parquet, read_sidecars
from kinema.data.shards import read_shard
from kinema.errors import UserError

METADATA = "metadata.jsonl"
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def open_dataset(path: str | os.PathLike[str], **options: Any) -> MediaDataset:
    """Open captioned media, by what is there:

    - a folder with `metadata.jsonl`, or that file: rows with file_name (file, path), caption (text), maybe group;
    - a folder of `.tar` shards, one shard, or `name-{000..009}.tar`: WebDataset;
    - a folder of `.parquet` tables, or one table: the columns of `metadata.jsonl`;
    - any other folder: media files with `clip.txt` or `clip.json` beside them, at any depth.

    options go to `MediaDataset` (max_broken, short, limits). Raises UserError when there is nothing to learn from.
    """
    target = Path(path)
    if _BRACES.search(target.name):
        return _combined([_existing(name) for name in expand(str(target))], options)
    if not _existing(target).is_dir():
        return _combined([target], options)
    if (target / METADATA).is_file():
        return MediaDataset(*read_jsonl(target / METADATA), **options)
    for pattern in ("*.tar", "*.parquet"):
        parts = sorted(target.glob(pattern))
        if parts:
            return _combined(parts, options)
    return MediaDataset(*read_sidecars(target), **options)


def expand(pattern: str) -> list[Path]:
    """`name-{000..002}.tar` as three paths, zeros kept."""
    match = _BRACES.search(pattern)
    if match is None:
        return [Path(pattern)]
    first, last, width = int(match[1]), int(match[2]), len(match[1])
    if last < first or last - first > 1_000_000:
        raise UserError(
            f"{pattern} counts from {first} to {last}: expected a range upwards, such as {{000..099}}"
        )
    names = [
        f"{pattern[: match.start()]}{n:0{width}d}{pattern[match.end() :]}" for n in range(first, last + 1)
    ]
    return [path for name in names for path in expand(name)]


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UserError(f"{path} does not exist: expected a folder of media, .tar shards or a .parquet table")
    return path


def _combined(parts: list[Path], options: dict[str, Any]) -> MediaDataset:
    samples, broken = [], {}
    seen: set[str] = set()
    for part in parts:
        found, bad = _read_file(part)
        twice = next((sample.key for sample in found if sample.key in seen), None)
        if twice is not None:
            raise UserError(
                f"{part} brings {twice} a second time: give shards different names, clips one row"
            )
        seen.update(sample.key for sample in found)
        samples.extend(found)
        broken.update(bad)
    return MediaDataset(samples, broken, **options)


def _read_file(part: Path) -> Found:
    readers = {".tar": read_shard, ".parquet": read_parquet, ".jsonl": read_jsonl}
    reader = readers.get(part.suffix.lower())
    if reader is None:
        raise UserError(
            f"{part} is no data set: expected a folder, {', '.join(readers)} (shards uncompressed)"
        )
    return reader(part)
