"""Checkpoints that are there whole or not at all, and that hold no pickle.

A folder is written beside its place, synced to disk, renamed, and only then marked with DONE, which lists every
file's size and digest. Readers ignore a folder without DONE, and one whose files differ from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from kinema.train.log import logger

STEP_FORMAT = "step_{:09d}"


def fsync_path(path: Path) -> None:
    """Force a file, or a folder's list of names, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """A safetensors file. Tensors that share memory (tied weights) are written once each."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if pointer in seen else tensor.contiguous()
        seen.add(pointer)
    safetensors.torch.save_file(separate, path, metadata=dict(metadata or {}) or None)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def write_folder(
    folder: Path,
    tensors: Mapping[str, Mapping[str, Tensor]],
    documents: Mapping[str, str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `<name>.safetensors` for each of `tensors` and each text of `documents`, atomically."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        for name, group in tensors.items():
            write_tensors(temporary / f"{name}.safetensors", group, metadata)
        for name, text in documents.items():
            (temporary / name).write_text(text, encoding="utf-8")
        files = sorted(temporary.iterdir())
        for path in files:
            fsync_path(path)
        fsync_path(temporary)
        contents = {path.name: {"bytes": path.stat().st_size, "blake2b": _digest(path)} for path in files}
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_path(folder.parent)
    write_text(folder / "DONE", json.dumps(contents, indent=1) + "\n")
    fsync_path(folder)


def damage(folder: Path) -> str | None:
    """What is wrong with a written folder, in words, or None when it is whole."""
    try:
        contents = json.loads((folder / "DONE").read_text(encoding="utf-8"))
        for name, entry in contents.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, not {entry['bytes']}"
            if _digest(path) != entry["blake2b"]:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return "it was not finished"
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return f"DONE cannot be read ({error})"
    return None


def read_folder(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors by file name and the contents of train_state.json."""
    tensors = {path.stem: safetensors.torch.load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    state = json.loads((folder / "train_state.json").read_text(encoding="utf-8"))
    return tensors, state


def step_folders(checkpoints: Path) -> list[Path]:
    """Checkpoint folders that were finished, oldest first."""
    return sorted(path for path in checkpoints.glob("step_*") if (path / "DONE").is_file())


def newest_first(checkpoints: Path) -> Iterator[Path]:
    """Whole checkpoints from the newest to the oldest; a damaged one is named in a warning and passed over."""
    for folder in sorted(checkpoints.glob("step_*"), reverse=True):
        problem = damage(folder)
        if problem is None:
            yield folder
        else:
            logger.warning("checkpoint %s is passed over: %s; trying the one before", folder.name, problem)


def point_latest(checkpoints: Path, folder: Path) -> None:
    """`latest` leads to the newest checkpoint: a link, or a text file where links are not allowed."""
    latest = checkpoints / "latest"
    temporary = checkpoints / ".latest.tmp"
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(folder.name)
    except OSError:
        temporary.write_text(folder.name + "\n", encoding="utf-8")
    os.replace(temporary, latest)


def retain(checkpoints: Path, keep_last: int) -> None:
    """Remove all but the newest `keep_last` finished checkpoints, and what broken writes left."""
    for folder in step_folders(checkpoints)[:-keep_last]:
        (folder / "DONE").unlink()  # first, so that a kill leaves no half folder that looks whole
        shutil.rmtree(folder, ignore_errors=True)
    newest = max((path.name for path in step_folders(checkpoints)), default="")
    for path in checkpoints.glob("step_*"):
        if not (path / "DONE").exists() and path.name < newest:
            shutil.rmtree(path, ignore_errors=True)
    for path in checkpoints.glob(".step_*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
