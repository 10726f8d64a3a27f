"""A clip: frames, their rate, and the sound that goes with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError
from kinema.media.files import PathLike, atomic, extension, opened, sniff, write_bytes
from kinema.media.provenance import provenance_in, unpack
from kinema.media.sound import Sound
from kinema.media.stills import (
    encode_animation,
    opened_picture,
    picture_comment,
    picture_frames,
    shrunk,
    tidy,
)

EXTENSIONS = (".mp4", ".webp", ".gif")
MAX_BYTES = 4 * 2**30


@dataclass(frozen=True, eq=False)
class Video:
    """Frames uint8 (T, H, W, 3) at `fps` a second, sound or None; `metadata["kinema"]` is a Provenance."""

    frames: npt.NDArray[np.uint8]
    fps: float
    sound: Sound | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape, kind = getattr(self.frames, "shape", None), getattr(self.frames, "dtype", type(self.frames))
        if not isinstance(self.frames, np.ndarray) or self.frames.ndim != 4 or self.frames.shape[3] != 3:
            raise UserError(f"the video has shape {shape}: expected a uint8 array (T, H, W, 3)")
        if self.frames.dtype != np.uint8 or 0 in self.frames.shape:
            raise UserError(
                f"the video has shape {shape} and type {kind}: expected uint8 (T, H, W, 3), not empty"
            )
        if not (math.isfinite(self.fps) and 0.01 <= self.fps <= 1000):
            raise UserError(f"the frame rate is {self.fps}: expected 0.01 to 1000 frames a second")

    @property
    def num_frames(self) -> int:
        """The number of frames T."""
        return int(self.frames.shape[0])

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.frames.shape[2])

    @property
    def seconds(self) -> float:
        """Length in seconds, T / fps."""
        return self.num_frames / self.fps

    @classmethod
    def read(
        cls,
        path: PathLike,
        max_frames: int | None = None,
        max_bytes: int = MAX_BYTES,
        max_side: int | None = None,
    ) -> Video:
        """Read MP4, MOV, WebM, MKV, AVI, MPEG-TS, or an animated WebP, GIF or PNG (by content).

        Frames come upright, in 8-bit RGB with square pixels, on a constant grid: a variable frame rate is put
        on its average rate by time stamps. `max_frames` keeps the beginning; without it, a clip over
        `max_bytes` of memory is refused. `max_side` makes larger frames smaller, one by one, for those who only
        look. `metadata["notes"]` says what was done. A still picture is a clip of one frame. Raises UserError for
        anything that is cut off, damaged or no video.
        """
        from kinema.media.decode import read_frames

        for limit, value in (("max_frames", max_frames), ("max_side", max_side)):
            if value is not None and value < 1:
                raise UserError(f"{limit} is {value}: expected 1 or more")
        name = str(path)
        with opened(path) as handle:
            if sniff(handle, name).family == "image":
                return read_animation(handle, name, max_frames, max_bytes, max_side)
            return cls(*read_frames(handle, name, max_frames, max_bytes, max_side))

    def write(self, path: PathLike, overwrite: bool = False, crf: float = 13.0) -> None:
        """Write .mp4 (with sound), or .webp or .gif (without), atomically, with the provenance inside.

        `crf` is H.264's quality, 0 (lossless) to 51; 13 is nearly transparent. The file is decoded again and
        its frames counted before it gets its name. Raises UserError.
        """
        from kinema.media.encode import write_mp4

        suffix = extension(path, EXTENSIONS, "a video")
        provenance = provenance_in(self.metadata)
        if suffix != ".mp4":
            if self.sound is not None:
                raise UserError(
                    f"{path} cannot hold sound: write it as .mp4, or drop the sound with sound=None"
                )
            data = encode_animation(self.frames, self.fps, suffix, self.metadata, str(path))
            write_bytes(path, data, overwrite)
            return
        if not 0 <= crf <= 51:
            raise UserError(f"crf is {crf}: expected 0 (lossless) to 51")
        samples, rate = None, 0
        if self.sound is not None:
            samples, rate = self.sound.samples, self.sound.rate
            if samples.shape[0] > 2 or samples.shape[1] == 0:
                raise UserError(
                    f"the sound has shape {samples.shape}: mono or stereo with some samples was expected"
                )
        with atomic(path, overwrite) as temporary:
            write_mp4(temporary, self.frames, self.fps, samples, rate, provenance, crf)


def read_animation(
    handle: Any, name: str, max_frames: int | None, max_bytes: int, max_side: int | None = None
) -> Video:
    """An animated or still picture from an open file as a Video; see `Video.read`."""
    from kinema.media.decode import even_grid, regular

    notes: list[str] = []
    with opened_picture(handle, name) as image:
        provenance, _ = unpack(picture_comment(image))
        budget = max(1, max_bytes // (3 * image.width * image.height))
        if max_side is not None:
            budget = max(budget, max_bytes // (3 * max_side**2))
        times, lengths, frames = list[float](), list[float](), list[npt.NDArray[np.uint8]]()
        for start, length, pixels in picture_frames(image, notes):
            if max_frames is not None and len(frames) >= max_frames:
                break
            if len(frames) >= budget:
                raise UserError(
                    f"{name} has more than {budget} pictures of {image.width}x{image.height}: pass max_frames"
                )
            times.append(start)
            lengths.append(length)
            frames.append(shrunk(pixels, max_side))
    end = times[-1] + lengths[-1]
    stamps, stacked = np.asarray([*times, end]), np.stack(frames)
    fps = min(1000.0, max(0.01, len(frames) / end))
    if len(frames) > 1 and not regular(stamps):
        notes.append(f"variable frame rate put on a grid of {fps:.3f} a second")
        stacked = stacked[even_grid(np.asarray(times), end, fps)]
    return Video(stacked, fps, None, tidy(provenance, notes))
