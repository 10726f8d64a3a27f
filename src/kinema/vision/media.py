"""A file as something to look at: a picture, a clip, or a picture with its disparity."""

# T frames, H W rows and columns

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from kinema.data.folder import media_files
from kinema.data.sample import MEDIA_EXTENSIONS
from kinema.errors import UserError
from kinema.media.depth import Depth
from kinema.media.files import PathLike, opened, sniff
from kinema.media.image import Image
from kinema.media.sampling import sample_frames
from kinema.media.stills import MAX_PIXELS, opened_picture

Kind = Literal["image", "video", "rgbd"]
LARGEST_SIDE: Final = 720  # of a clip's frames: more is never looked at


@dataclass(frozen=True, eq=False)
class Media:
    """frames uint8 (T, H, W, 3), one of an image; depth: of an image, on its grid.

    notes: what was done to the file, one phrase each. fps: of a clip, frames a second where they are known.
    """

    kind: Kind
    frames: npt.NDArray[np.uint8]
    name: str
    depth: Depth | None = None
    notes: tuple[str, ...] = ()
    fps: float | None = None


def read_media(path: PathLike, depth: PathLike | None = None, max_pixels: int = MAX_PIXELS) -> Media:
    """Open a picture or a clip by its content; an animation of more than one frame is a clip.

    Of a long clip 256 frames are kept, evenly spaced in time.

    Args:
        depth: a depth file that belongs to the picture, see `kinema.media.depth_files`.

    Raises:
        UserError: a file is missing, damaged or neither of the two, or depth is given for a clip or has another size.
    """
    name = str(path)
    if Path(path).is_dir():
        raise UserError(f"'{name}' is a folder, and a picture or a clip was expected: name a file in it")
    with opened(path) as handle:
        family = sniff(handle, name).family
        moving = family == "video"
        if family == "image":
            with opened_picture(handle, name, max_pixels) as picture:
                moving = getattr(picture, "n_frames", 1) > 1
        elif family == "sound":
            raise UserError(
                f"{name} is a sound file, and a picture or a clip was expected: give one of these"
            )
    if not moving:
        image = Image.read(path, max_pixels)
        notes = tuple(image.metadata.get("notes", ()))
        if depth is None:
            return Media("image", image.pixels[None], name, notes=notes)
        return Media("rgbd", image.pixels[None], name, _depth_of(depth, image), notes)
    if depth is not None:
        raise UserError(
            f"{name} is a clip, and depth belongs to a picture: leave out the depth, or take one frame"
        )
    clip = sample_frames(path, max_side=LARGEST_SIDE)
    return Media("video", clip.frames, name, notes=clip.notes, fps=clip.fps)


def media_in(folder: PathLike) -> list[Path]:
    """The pictures and clips in a folder and those below it, by the endings of their names; hidden ones are left out.

    Raises:
        UserError: there is no such folder, nothing in it, or a link in it leads out.
    """
    place = Path(folder)
    if not place.is_dir():
        raise UserError(f"there is no folder '{place}': give one with pictures or clips in it")
    found = media_files(place)
    if not found:
        raise UserError(
            f"the folder '{place}' holds no pictures and no clips ({', '.join(sorted(MEDIA_EXTENSIONS))})"
        )
    return found


def _depth_of(path: PathLike, image: Image) -> Depth:
    from kinema.media.depth_files import read_depth

    found = read_depth(path)
    if (found.height, found.width) != (image.height, image.width):
        raise UserError(
            f"the depth in {path} is {found.width}x{found.height} and its picture {image.width}x{image.height}: they "
            "must be of one size"
        )
    return found
