"""Where results go: names that never come from a prompt, and every check on a path before anything heavy starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from kinema.cli.prompts import Request
from kinema.errors import UserError

VIDEO_SUFFIXES: Final = (".mp4", ".webp", ".gif")
IMAGE_SUFFIXES: Final = (".png",)


def check_output(path: Path, suffixes: Sequence[str], overwrite: bool) -> Path:
    """Refuse a file that could not be written in the end: wrong kind, there already, or in a forbidden place."""
    if path.suffix.lower() not in suffixes:
        raise UserError(
            f"'{path}' cannot hold this result: expected a name that ends in {' or '.join(suffixes)}"
        )
    if path.is_dir():
        raise UserError(f"'{path}' is a folder and a file was expected: name a file in it")
    if path.exists() and not overwrite:
        raise UserError(f"'{path}' exists already: pass --overwrite to replace it, or choose another name")
    check_folder(path.parent)
    return path


def check_folder(folder: Path) -> None:
    """Refuse a folder that neither is there nor could be made, or that may not be written to."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UserError(f"'{place}' is a file, so no folder can be made there: choose another place")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"'{place}' may not be written to: choose another place")


def default_folder(preset: str, now: datetime | None = None) -> Path:
    """`outputs/<date>/<time>_<preset>`, with a number behind it when another run began in the same second."""
    now = now or datetime.now()
    base = Path("outputs") / f"{now:%Y-%m-%d}" / f"{now:%H%M%S}_{preset}"
    folder, number = base, 2
    while folder.exists():
        folder, number = base.with_name(f"{base.name}_{number}"), number + 1
    return folder


def clip_names(requests: Iterable[Request]) -> list[str]:
    """A file name for each request, `00000_seed42.mp4`, or with its id in place of the number."""
    return [f"{request.id or f'{n:05d}'}_seed{request.seed}.mp4" for n, request in enumerate(requests)]
