"""An index of a folder: the embedding of every picture and clip in it, kept in a file so that each is computed once."""

# N files, D width of embeddings

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.media.files import write_bytes
from kinema.vision.media import media_in
from kinema.vision.pipeline import Vision
from kinema.weights import check_schema, read_weights

KEY: Final = "kinema.vision.index"
SCHEMA: Final = 1
Stamp = tuple[int, int]  # bytes, and time of the last change in nanoseconds


@dataclass(frozen=True)
class Index:
    """names: paths below the folder, with `/`; stamps: size and time of each; features (N, D); model: who made them."""

    model: str
    weights_hash: str
    names: tuple[str, ...]
    stamps: tuple[Stamp, ...]
    features: Tensor

    def write(self, path: str | Path) -> None:
        """As a safetensors file; one of that name is replaced, whole or not at all."""
        from safetensors.torch import save

        about = {
            "schema": SCHEMA,
            "model": self.model,
            "weights_hash": self.weights_hash,
            "names": list(self.names),
            "stamps": [list(stamp) for stamp in self.stamps],
        }
        data = save({"features": self.features.contiguous()}, metadata={KEY: json.dumps(about)})
        write_bytes(path, data, overwrite=True)


def read_index(path: str | Path) -> Index:
    """What `Index.write` wrote.

    Raises:
        UserError: the file is missing, damaged, or something else.
    """
    state, metadata = read_weights(path)
    try:
        about = json.loads(metadata[KEY])
        check_schema(about, SCHEMA, path)
        names = tuple(str(name) for name in about["names"])
        stamps = tuple((int(size), int(time)) for size, time in about["stamps"])
        index = Index(
            str(about["model"]), str(about["weights_hash"]), names, stamps, state["features"].float()
        )
        if index.features.ndim != 2 or not len(names) == len(stamps) == len(index.features):
            raise ValueError
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"'{Path(path).name}' is no index of pictures: name another file, and it will be made"
        ) from error
    return index


def index_folder(
    see: Vision,
    folder: str | Path,
    known: Index | None = None,
    on_file: Callable[[int, int], None] | None = None,
) -> tuple[Index, dict[str, str]]:
    """Embed every picture and clip of a folder; what `known` has of an unchanged file is taken from there.

    Args:
        on_file: is told how many files are done, and of how many.

    Returns:
        the index, and the files that could not be read, each with the sentence that says why.

    Raises:
        UserError: there is nothing in the folder, or nothing that can be read.
    """
    files, root = media_in(folder), Path(folder)
    kept = _rows(see, known)
    names, stamps, rows, failed = list[str](), list[Stamp](), list[Tensor](), dict[str, str]()
    for number, file in enumerate(files, 1):
        name, stamp = file.relative_to(root).as_posix(), _stamp(file)
        row = kept.get((name, stamp))
        try:
            row = see.embed([file])[0] if row is None else row
        except UserError as error:
            failed[name] = str(error)
        else:
            names.append(name)
            stamps.append(stamp)
            rows.append(row)
        if on_file is not None:
            on_file(number, len(files))
    if not rows:
        raise UserError(
            f"none of the {len(files)} files in '{folder}' can be read: {next(iter(failed.values()))}"
        )
    return Index(see.name, see.weights_hash, tuple(names), tuple(stamps), torch.stack(rows)), failed


def _rows(see: Vision, known: Index | None) -> Mapping[tuple[str, Stamp], Tensor]:
    same = known is not None and (known.model, known.weights_hash) == (see.name, see.weights_hash)
    if known is None or not same:
        return {}
    return dict(zip(zip(known.names, known.stamps, strict=True), known.features, strict=True))


def _stamp(file: Path) -> Stamp:
    facts: Any = file.stat()
    return facts.st_size, facts.st_mtime_ns
