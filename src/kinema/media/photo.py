"""The one door for photos: a file, or a folder of files, into upright RGB with what the camera said of its lens."""

# H W rows and columns

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError
from kinema.media.files import PathLike, opened, sniff
from kinema.media.image import Image
from kinema.media.provenance import Provenance
from kinema.media.stills import MAX_PIXELS, opened_picture
from kinema.media.video import Video

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
SMALLEST: Final = 16  # rows or columns; less shows nothing that has a depth
LONGEST_SHAPE: Final = 4.0  # times as long as it is wide; longer ones are panoramas
_EXIF_IFD, _FOCAL_35 = 0x8769, 0xA405
_FILM: Final = math.hypot(36.0, 24.0)  # mm, the diagonal of the film that "35 mm equivalent" speaks of


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo: pixels uint8 (H, W, 3), upright sRGB.

    notes: what was done to the file's picture (turned, alpha laid on white, the first frame of a video, ...).
    field_of_view: horizontal, in degrees, where the camera wrote its focal length; else None.
    provenance: of a picture that kinema made.
    """

    pixels: npt.NDArray[np.uint8]
    name: str
    notes: tuple[str, ...] = ()
    field_of_view: float | None = None
    provenance: Provenance | None = None

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])


def read_photo(path: PathLike, max_pixels: int = MAX_PIXELS) -> Photo:
    """Open a photo of any common kind; the first picture of an animation or a video.

    Raises:
        UserError: it is missing, damaged, no picture, has more than `max_pixels`, is smaller than 16 pixels on a side,
            or a panorama more than four times as long as it is wide.
    """
    name = Path(path).name
    with opened(path) as handle:
        moving = sniff(handle, str(path)).family == "video"
    image = _first_frame(path, max_pixels) if moving else Image.read(path, max_pixels)
    check_shape(image.height, image.width, str(path))
    film = None
    if not moving:
        with opened(path) as handle, opened_picture(handle, str(path), max_pixels) as picture:
            film = picture.getexif().get_ifd(_EXIF_IFD).get(_FOCAL_35)
    return Photo(
        image.pixels,
        name,
        tuple(image.metadata.get("notes", ())),
        _field_of_view(film, image.height, image.width),
        image.metadata.get("kinema"),
    )


def _first_frame(path: PathLike, max_pixels: int) -> Image:
    clip = Video.read(path, max_frames=1, max_bytes=3 * max_pixels)
    notes = ("the first frame of a video",)
    return Image(np.ascontiguousarray(clip.frames[0]), {**clip.metadata, "notes": notes})


def check_shape(height: int, width: int, name: str) -> None:
    """Refuse what has no depth to show, and panoramas, whose geometry is another one."""
    if min(height, width) < SMALLEST:
        raise UserError(
            f"{name} has {width}x{height} pixels, and a photo has {SMALLEST} or more on each side"
        )
    if max(height, width) > LONGEST_SHAPE * min(height, width):
        raise UserError(
            f"{name} is {width}x{height}, a panorama: photos up to {LONGEST_SHAPE:g} times as long as wide are taken, "
            "so cut it into parts"
        )


def photos_in(path: PathLike) -> list[Path]:
    """The file itself, or the photos right inside a folder in the order of their names.

    Raises:
        UserError: there is nothing, or the folder holds no photos.
    """
    place = Path(path)
    if not place.is_dir():
        return [place]
    found = sorted(
        file
        for file in place.iterdir()
        if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith(".")
    )
    if not found:
        raise UserError(f"the folder '{place}' holds no photos ({', '.join(SUFFIXES)}): give another one")
    return found


def _field_of_view(film: object, height: int, width: int) -> float | None:
    try:
        focal = float(film)  # type: ignore[arg-type]  # whatever stands in the file
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    if not 4.0 <= focal <= 2000.0:  # also refuses the 0 that means "unknown", and NaN
        return None
    across = _FILM * width / math.hypot(height, width)
    return math.degrees(2 * math.atan(across / (2 * focal)))
