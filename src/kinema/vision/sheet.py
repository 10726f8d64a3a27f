"""A picture of a search: what was looked for, and what was found, the most alike first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinema.media.image import Image
from kinema.media.sheet import contact_sheet
from kinema.media.video import Video
from kinema.vision.media import read_media
from kinema.vision.pipeline import spread


def search_sheet(
    query: Path, found: Sequence[tuple[Path, float]], columns: int = 6, height: int = 144
) -> Image:
    """One still of every file, the query first, each with its name and its similarity."""
    files = [query, *(file for file, _ in found)]
    captions = [f"looked for: {query.name}", *(f"{likeness:.3f}  {file.name}" for file, likeness in found)]
    stills = [Video(spread(read_media(file).frames, 1), 1.0) for file in files]
    return contact_sheet(stills, captions, columns, frames=1, frame_height=height, font_size=13)
