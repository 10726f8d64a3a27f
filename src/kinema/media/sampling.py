"""Frames from all over a clip of any length, in constant memory: for those who look at it and do not play it."""

# T frames, H W rows and columns

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError
from kinema.media.decode import open_video
from kinema.media.files import PathLike, opened, sniff
from kinema.media.stills import shrunk
from kinema.media.video import Video

MOST: Final = 256  # frames of a clip
CUT_OFF: Final = (0.5, 0.1)  # seconds, and share of the stated length, that may be missing at the end


@dataclass(frozen=True, eq=False)
class Sampled:
    """frames uint8 (T, H, W, 3), upright RGB; fps: of them a second of the clip; notes: what was done to them."""

    frames: npt.NDArray[np.uint8]
    fps: float
    notes: tuple[str, ...]


def sample_frames(path: PathLike, most: int = MOST, max_side: int | None = None) -> Sampled:
    """All frames of a clip or an animation, or `most` of a longer one, evenly spaced in time.

    Every frame is decoded once, and at most twice `most` are kept at a time.

    Args:
        max_side: larger frames are made smaller, one by one.

    Raises:
        UserError: it is no video, cut off or damaged.
    """
    if most < 1:
        raise UserError(f"most={most} frames cannot be taken: ask for at least 1")
    name = str(path)
    with opened(path) as handle:
        if sniff(handle, name).family == "video":
            return _of_video(handle, name, most, max_side)
    clip = Video.read(path, max_side=max_side)  # an animated picture
    chosen = _evenly(np.arange(clip.num_frames) / clip.fps, most)
    rate = clip.fps * len(chosen) / clip.num_frames
    return Sampled(clip.frames[chosen], rate, tuple(clip.metadata.get("notes", ())))


def _of_video(handle: BinaryIO, name: str, most: int, max_side: int | None) -> Sampled:
    times, frames, end = list[float](), list[npt.NDArray[np.uint8]](), 0.0
    with open_video(handle, name) as reader:
        sieve = _Sieve(most, reader.seconds, reader.fps)
        first = None
        for seconds, frame in reader.frames():
            first = seconds if first is None else first
            end = seconds + 1 / reader.fps
            if sieve.takes(seconds - first):
                times.append(seconds)
                frames.append(shrunk(reader.rgb(frame), max_side))
            if len(frames) > 2 * most:  # longer than it said: thin out, and go on thinner
                times, frames = times[::2], frames[::2]
                sieve.widen()
        if not frames:
            raise UserError(f"{name} has no frames in its video track: copy or make it again")
        missing = reader.seconds - (end - (first or 0.0))
        if missing > max(CUT_OFF[0], CUT_OFF[1] * reader.seconds):
            raise UserError(
                f"{name} is cut off: {end - (first or 0.0):.2f} s of {reader.seconds:.2f} s are there"
            )
        notes, length = tuple(reader.notes), end - (first or 0.0)
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"{name} changes its size in the middle: cut it into parts")
    chosen = [frames[k] for k in _evenly(np.asarray(times), most)]
    return Sampled(np.stack(chosen), len(chosen) / length, notes)


class _Sieve:
    """Which frames to keep while a clip is decoded: all of a short one, else `most` at even times of a known length."""

    def __init__(self, most: int, seconds: float, fps: float) -> None:
        self.every = seconds / most if seconds * fps > most else 0.0
        self.slack = 0.5 / fps
        self.next = self.every / 2

    def takes(self, seconds: float) -> bool:
        """Whether the frame of this time, counted from the first one, is kept."""
        if seconds < self.next - self.slack:
            return False
        while self.next - self.slack <= seconds and self.every:
            self.next += self.every
        return True

    def widen(self) -> None:
        """Keep half as many from here on."""
        self.every = 2 * self.every if self.every else 4 * self.slack


def _evenly(times: npt.NDArray[np.float64], most: int) -> list[int]:
    """Places of the frames shown at the middles of `most` equal parts of the time; all where there are fewer."""
    if len(times) <= most:
        return list(range(len(times)))
    middles = times[0] + (np.arange(most) + 0.5) / most * (times[-1] - times[0])
    return [int(k) for k in np.searchsorted(times, middles, side="right") - 1]
