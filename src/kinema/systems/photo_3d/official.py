"""The released depth network, fetched from its owner when the user asks for it, and kept for the next time."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

from kinema.errors import UserError

# The commit that added the files, so that what stands behind the names cannot change.
ADDRESS: Final = (
    "https://raw.githubusercontent.com/facebookresearch/one_shot_3d_photography/"
    "75d65ef4020ab51ea7de466ffeae96b140591a8c/model/"
)
FILES: Final = {  # name -> bytes, SHA-256
    "tiefenrausch.pb": (50_464, "7fd8d7eb5948fe8fe9ae0a5c67792a5553f09a26572be5ccc1f0584db15d2034"),
    "tiefenrausch_init.pb": (3_777_421, "8595624b4ac3d639d5f769fc95d7e0c5f2caa9c9edb356110a533acbb30b50af"),
}


def kept_at() -> Path:
    """Where the converted file is kept: under KINEMA_HOME, or `~/.cache/kinema`."""
    home = Path(os.environ.get("KINEMA_HOME") or "~/.cache/kinema").expanduser()
    return home / "photo_3d" / "tiefenrausch.safetensors"


def official(download: bool = False) -> Path:
    """The file with the released weights. The network is touched only with `download`, and only the first time.

    Raises:
        UserError: it is not here and was not to be fetched, or could not be.
    """
    path = kept_at()
    if path.is_file():
        return path
    if not download:
        raise UserError(
            "the official depth weights are not on this machine: add --download (download=True in Python) to fetch "
            "3.8 MB from github.com/facebookresearch/one_shot_3d_photography (MIT licence), or download its folder "
            "model/ yourself and run `python -m kinema.systems.photo_3d.converter FOLDER OUT.safetensors`"
        )
    from kinema.systems.photo_3d.converter import convert
    from kinema.systems.photo_3d.depth_weights import save_depth

    with tempfile.TemporaryDirectory() as folder:
        for name, (size, digest) in FILES.items():
            (Path(folder) / name).write_bytes(_fetch(name, size, digest))
        network, scales = convert(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_depth(network, path, "uint8", scales, source="facebookresearch/one_shot_3d_photography, MIT")
    return path


def _fetch(name: str, size: int, digest: str) -> bytes:
    try:
        with urllib.request.urlopen(ADDRESS + name, timeout=60) as answer:
            data: bytes = answer.read(size + 1)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise UserError(f"'{ADDRESS}{name}' cannot be fetched ({error}): check the connection") from error
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        raise UserError(f"'{ADDRESS}{name}' is not the released file any more: its SHA-256 differs")
    return data
