"""Embeddings in a file that other programs read: arrays of NumPy, safetensors, or a table of text."""

# N files, D width of embeddings

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError
from kinema.media.files import PathLike, write_bytes


def write_embeddings(
    path: PathLike,
    names: Sequence[str],
    vectors: Sequence[Tensor],
    about: Mapping[str, str],
    *,
    normalise: bool = False,
    overwrite: bool = False,
) -> None:
    """Write vectors (D,) of files as one table `features` (N, D), or dense ones (D, ...) as an array for each file.

    .npz and .safetensors hold `names` too (dense arrays are called 0, 1, ... in their order), .csv a row for each file,
    .npy the table alone.

    Args:
        about: model and weights, for .npz and .safetensors.
        normalise: vectors are brought to length 1.

    Raises:
        UserError: the file is there already, cannot be written, or its kind cannot hold dense vectors.
    """
    suffix = Path(path).suffix.lower()
    floats = [F.normalize(v.float(), dim=0) if normalise else v.float() for v in vectors]
    dense = any(v.ndim > 1 for v in floats)
    if dense and suffix in (".csv", ".npy"):
        raise UserError(
            f"'{path}' cannot hold arrays of several sizes: write dense vectors as .npz or .safetensors"
        )
    tables = {str(k): v for k, v in enumerate(floats)} if dense else {"features": torch.stack(floats)}
    match suffix:
        case ".npz":
            data = _npz({**{k: v.numpy() for k, v in tables.items()}, "names": np.array(list(names))}, about)
        case ".npy":
            data = _npy(tables["features"].numpy())
        case ".csv":
            data = _csv(names, tables["features"])
        case ".safetensors":
            from safetensors.torch import save

            text = {"kinema.embeddings": json.dumps({**about, "names": list(names)})}
            data = save({k: v.contiguous() for k, v in tables.items()}, metadata=text)
        case _:
            raise UserError(f"'{path}' cannot hold embeddings: name it .npz, .safetensors, .csv or .npy")
    write_bytes(path, data, overwrite)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _npz(arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    members: Any = {**arrays, **{k: np.array(v) for k, v in about.items()}}
    np.savez_compressed(buffer, **members)
    return buffer.getvalue()


def _csv(names: Sequence[str], table: Tensor) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", *range(table.shape[1])])
    for name, row in zip(names, table.tolist(), strict=True):
        writer.writerow([name, *(f"{value:.7g}" for value in row)])
    return buffer.getvalue().encode()
