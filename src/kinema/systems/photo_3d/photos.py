"""Photos to learn from: those of a folder, or a few that ship in packages.

The package scikit-image has astronaut, chelsea, coffee and rocket (public domain or CC0), scikit-learn china and flower
(CC BY 2.0). Middlebury's Motorcycle, which scikit-image has as well, is never among them: it is the test.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from kinema.errors import UserError
from kinema.media.image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def read_photos(folder: Path | None = None, smallest: int = 1) -> list[np.ndarray]:
    """The photos (H, W, 3) uint8 of a folder and those below it, or those that ship in packages.

    smallest: what is smaller on a side, in pixels, is left out. Raises UserError where nothing is left.
    """
    if folder is None:
        return [photo for photo in shipped_photos() if min(photo.shape[:2]) >= smallest]
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}' with photos: check the path")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    photos = [Image.read(path).pixels for path in files]
    photos = [photo for photo in photos if min(photo.shape[:2]) >= smallest]
    if not photos:
        raise UserError(
            f"'{folder}' holds no photo of at least {smallest} x {smallest} pixels: expected {', '.join(SUFFIXES)}"
        )
    return photos


@lru_cache(maxsize=1)
def shipped_photos() -> tuple[np.ndarray, ...]:
    """Six photos (H, W, 3) uint8, always the same; the last one, a cup of coffee, is the one to hold out."""
    try:
        from skimage import data
        from sklearn.datasets import load_sample_image
    except ImportError:
        raise UserError(
            "the photos to learn from are those of the packages scikit-image and scikit-learn: install them with "
            "pip install 'kinema[eval]'"
        ) from None
    names = ("astronaut", "chelsea", "rocket")
    photos = [np.asarray(getattr(data, name)()) for name in names]
    photos += [np.asarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    return (*photos, np.asarray(data.coffee()))
