"""One page that shows a 3D photo in any browser, with everything inside: no server and no network."""

from __future__ import annotations

import base64
import html
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from kinema.errors import UserError
from kinema.media.files import write_bytes


def page(glb: bytes, title: str = "3D photo") -> str:
    """The page for a .glb of `glb_bytes`. Raises UserError where it is none."""
    if glb[:4] != b"glTF":
        raise UserError("the page was given something that is no .glb: make it with glb_bytes")
    values = {
        "title": html.escape(" ".join(title.split()) or "3D photo"),
        "glb": base64.b64encode(glb).decode("ascii"),
        "script": re.sub(r"</(?=script)", r"<\\/", _text("viewer.min.js"), flags=re.IGNORECASE),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], _text("page.html"))


def write_page(glb: bytes, path: Path, title: str = "3D photo", overwrite: bool = False) -> None:
    """Write the page, atomically. Raises UserError where the file is there already or cannot be written."""
    write_bytes(path, page(glb, title).encode(), overwrite)


@cache
def _text(name: str) -> str:
    return files("kinema.systems.photo_3d").joinpath("viewer", name).read_text(encoding="utf-8")
