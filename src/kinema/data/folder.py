"""A folder of media with captions: sidecar files beside the clips, or one table that names them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from kinema.data.sample import MEDIA_EXTENSIONS, FileSource, Sample
from kinema.errors import UserError

FILE_COLUMNS = ("file_name", "file", "path", "media_path", "video", "image")
CAPTION_COLUMNS = ("caption", "captions", "text")
Found = tuple[list[Sample], dict[str, str]]  # samples, and {key: reason} for what cannot be used


def inside(root: Path, name: str) -> Path:
    """The file `name` of the folder `root`. Raises UserError when it leads out: absolute, `..`, or by a link."""
    parts = name.replace("\\", "/").split("/")
    leads_out = ".." in parts or name.startswith(("/", "\\")) or bool(PureWindowsPath(name).drive)
    path = root / name
    if leads_out or "\0" in name or not path.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{name!r} leads out of the folder {root}: keep the file inside and name it from there"
        )
    return path


def captions_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The captions of a table row or a JSON sidecar: a text or a list of texts; () when there is none."""
    for column in CAPTION_COLUMNS:
        value = record.get(column)
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list | tuple):
            found = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
            if found:
                return found
    return ()


def read_sidecars(root: Path) -> Found:
    """Every media file below `root`, with the caption in `clip.txt` or `clip.json` beside `clip.mp4`."""
    samples: list[Sample] = []
    broken: dict[str, str] = {}
    for path in media_files(root):
        key = path.relative_to(root).as_posix()
        try:
            captions, group = _sidecar(root, path)
        except (OSError, ValueError) as error:
            broken[key] = f"its caption cannot be read ({error})"
            continue
        if captions:
            samples.append(Sample(key, captions, FileSource(path), group))
        else:
            broken[key] = f"it has no caption: {path.stem}.txt or {path.stem}.json was expected beside it"
    if not samples and not broken:
        raise UserError(
            f"the folder {root} has no media files: expected clips such as clip.mp4 with clip.txt"
        )
    if not samples:
        raise UserError(
            f"the folder {root} has {len(broken)} media files and no captions: put clip.txt or clip.json beside "
            "clip.mp4, or a metadata.jsonl with file_name and caption in the folder"
        )
    return samples, broken


def media_files(root: Path) -> list[Path]:
    """Files with a media extension below `root`, sorted, hidden ones left out; links must stay inside."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and name.rpartition(".")[2].lower() in MEDIA_EXTENSIONS:
                path = Path(folder, name)
                if path.is_symlink():
                    inside(root, path.relative_to(root).as_posix())
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def class_files(root: Path) -> dict[str, list[Path]]:
    """Class -> its media files, of a folder with one subfolder for each class, named as the class; in their order.

    Raises:
        UserError: there is no such folder, or fewer than two of its subfolders hold media.
    """
    if not root.is_dir():
        raise UserError(f"there is no folder '{root}': give one with a subfolder of pictures for each class")
    places = sorted(place for place in root.iterdir() if place.is_dir() and not place.name.startswith("."))
    found = {place.name: files for place in places if (files := media_files(place))}
    if len(found) < 2:
        raise UserError(
            f"the folder '{root}' has {len(found)} subfolders with media in them: two or more are expected, one for "
            "each class, named as the class"
        )
    return found


def _sidecar(root: Path, path: Path) -> tuple[tuple[str, ...], str]:
    for suffix in (".json", ".txt"):
        side = path.with_suffix(suffix)
        if side.is_symlink():
            inside(root, side.relative_to(root).as_posix())
        if not side.is_file():
            continue
        return parse_sidecar(side.read_text(encoding="utf-8-sig"), suffix)
    return (), ""


def parse_sidecar(text: str, suffix: str) -> tuple[tuple[str, ...], str]:
    """(captions, group) of a `.txt` or `.json` caption. A text may hold one caption only, on any lines."""
    if suffix == ".txt":
        caption = " ".join(text.split())
        return ((caption,) if caption else ()), ""
    record = json.loads(text)
    if isinstance(record, str | list):
        record = {"captions": [record] if isinstance(record, str) else record}
    if not isinstance(record, dict):
        raise ValueError("its JSON is neither an object nor a text")
    return captions_of(record), str(record.get("group") or "")


def read_jsonl(table: Path) -> Found:
    """A `metadata.jsonl`: one object a line with file_name (or file, path) and caption (or text), maybe group."""
    rows = []
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{table} cannot be read ({error}): expected UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{table}, line {number} is not JSON ({error}): expected one object a line"
            ) from None
        if not isinstance(row, dict):
            raise UserError(f"{table}, line {number} is {type(row).__name__}: expected a JSON object")
        rows.append(row)
    return read_rows(rows, table)


def read_rows(rows: Iterable[Mapping[str, Any]], table: Path) -> Found:
    """Samples of a table whose rows name files below the table's own folder."""
    root, samples, broken = table.parent, list[Sample](), dict[str, str]()
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        name = next((row[column] for column in FILE_COLUMNS if isinstance(row.get(column), str)), None)
        if not name:
            raise UserError(
                f"{table}, row {number} has the columns {', '.join(map(str, row)) or '(none)'}: "
                f"expected one of {', '.join(FILE_COLUMNS)} and a caption"
            )
        path, captions = inside(root, name), captions_of(row)
        key = path.relative_to(root).as_posix()
        if key in seen:
            raise UserError(
                f"{table}, row {number} names {key} a second time: merge its captions into a list"
            )
        seen.add(key)
        if not path.is_file():
            broken[key] = "it does not exist"
        elif not captions:
            broken[key] = f"it has no caption in {table.name}"
        else:
            samples.append(Sample(key, captions, FileSource(path), str(row.get("group") or "")))
    if not samples:
        reason = next(iter(broken.values()), "it has no rows")
        raise UserError(
            f"{table} gives no clip that can be used ({reason}): check its file and caption columns"
        )
    return samples, broken


def read_parquet(table: Path) -> Found:
    """A parquet table with the same columns as `metadata.jsonl`; paths are taken from the table's folder."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "parquet tables need the package pyarrow: install it with pip install 'kinema[data]'"
        ) from None
    try:
        names = pyarrow.parquet.read_schema(table).names
        wanted = [name for name in names if name in (*FILE_COLUMNS, *CAPTION_COLUMNS, "group")]
        if not set(wanted) & set(FILE_COLUMNS):
            raise UserError(
                f"{table} has the columns {', '.join(names)}: expected one of {', '.join(FILE_COLUMNS)} and a caption"
            )
        rows = pyarrow.parquet.ParquetFile(table).read(columns=wanted).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{table} is no readable parquet table ({str(error).splitlines()[0]})") from None
    return read_rows(rows, table)
