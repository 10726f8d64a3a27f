"""A stretch of a media file as frames of one size and rate: the temporal crop, the resize, the centre crop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

from kinema.errors import UserError
from kinema.media.decode import VideoReader, open_video
from kinema.media.files import sniff
from kinema.media.video import read_animation

Frames = npt.NDArray[np.uint8]
Short = Literal["hold", "loop"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What decoding one clip may cost; a file that goes over counts as broken.

    `max_decoded` counts frames from the key frame before the crop to the crop's end.
    """

    seconds: float = 60.0
    max_decoded: int = 5000
    max_bytes: int = 2 * 2**30


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What a clip is before any crop: upright rows and columns of square pixels, frames, frames a second."""

    height: int
    width: int
    num_frames: int
    fps: float


def measure_clip(handle: BinaryIO, name: str, limits: Limits | None = None) -> ClipFacts:
    """The facts of an open image, animation or video; a video is decoded up to its first frame.

    Raises UserError when it cannot be decoded.
    """
    limits = limits or Limits()
    if sniff(handle, name).family == "image":
        video = read_animation(handle, name, limits.max_decoded, limits.max_bytes)
        rows, columns = video.frames.shape[1:3]
        return ClipFacts(height=rows, width=columns, num_frames=video.num_frames, fps=video.fps)
    with open_video(handle, name) as reader:
        first = next((reader.rgb(frame) for _, frame in reader.frames()), None)
        if first is None:
            raise UserError(f"{name} has no frames in its video track: copy or make it again")
        count = max(1, round(reader.seconds * reader.fps))
        return ClipFacts(height=first.shape[0], width=first.shape[1], num_frames=count, fps=reader.fps)


def read_clip(
    handle: BinaryIO,
    name: str,
    *,
    num_frames: int,
    height: int,
    width: int,
    fps: float | None = None,
    seed: int = 0,
    short: Short = "hold",
    limits: Limits | None = None,
) -> Frames:
    """Frames uint8 (num_frames, height, width, 3) from an open image, animation or video.

    The crop starts at a random moment of the file (from `seed`) and takes `fps` frames a second by time stamps,
    or the file's own rate when `fps` is None. A clip that is too short holds its last frame, or starts over with
    short="loop". A still picture is the same frame throughout. Raises UserError when it cannot be decoded.
    """
    if num_frames < 1 or height < 1 or width < 1 or (fps is not None and not 0 < fps <= 1000):
        raise UserError(
            f"num_frames={num_frames}, height={height}, width={width}, fps={fps}: expected positive numbers"
        )
    limits = limits or Limits()
    moment = float(np.random.default_rng([seed % 2**63, 0x5EED]).random())
    if sniff(handle, name).family == "image":
        video = read_animation(handle, name, limits.max_decoded, limits.max_bytes)
        rate = fps or video.fps
        start = _start(moment, video.seconds, num_frames / rate, video.fps)
        ticks = start + np.arange(num_frames) / rate
        ticks = ticks[ticks < video.seconds - 1e-6] if video.num_frames > 1 else ticks[:1]
        indices = np.clip(np.floor(ticks * video.fps + 1e-3).astype(int), 0, video.num_frames - 1)
        pictures = {
            int(index): resize_crop(video.frames[index], height, width) for index in set(indices.tolist())
        }
        frames = [pictures[int(index)] for index in indices]
    else:
        with open_video(handle, name) as reader:
            frames = _window(reader, moment, num_frames, fps, (height, width), limits)
    return np.stack([frames[index] for index in fill(len(frames), num_frames, short)])


def fill(available: int, wanted: int, short: Short) -> list[int]:
    """Which of the `available` frames stand in `wanted` places: the last one held, or all of them in a loop."""
    if short == "loop":
        return [index % available for index in range(wanted)]
    return [min(index, available - 1) for index in range(wanted)]


def resize_crop(frame: Frames, height: int, width: int) -> Frames:
    """A frame (h, w, 3) scaled to cover (height, width) with its proportions kept, then cut from the centre."""
    rows, columns = frame.shape[:2]
    scale = max(height / rows, width / columns)
    across, down = width / scale, height / scale
    left, top = (columns - across) / 2, (rows - down) / 2
    box = (max(0.0, left), max(0.0, top), min(columns, left + across), min(rows, top + down))
    if (rows, columns) == (height, width):
        return frame
    image = PIL.Image.fromarray(frame).resize((width, height), PIL.Image.Resampling.BICUBIC, box=box)
    return np.asarray(image, dtype=np.uint8)


def _start(moment: float, seconds: float, window: float, rate: float) -> float:
    """The crop's start in seconds, on the file's own frame grid, so that a whole clip always starts at 0."""
    room = int(max(0.0, seconds - window) * rate + 1e-3)
    return int(moment * (room + 1)) / rate


def _window(
    reader: VideoReader,
    moment: float,
    num_frames: int,
    fps: float | None,
    size: tuple[int, int],
    limits: Limits,
) -> list[Frames]:
    """The frames shown at the ticks of the crop; fewer than asked when the file ends before."""
    rate = fps or reader.fps
    start = _start(moment, reader.seconds, num_frames / rate, reader.fps)
    if start > 0:
        reader.seek(start)
    deadline = time.monotonic() + limits.seconds
    origin = reader.start
    chosen: list[Frames] = []
    shown, pixels, end = None, None, 0.0  # the frame on show, and its pixels once they are needed
    for count, (seconds, frame) in enumerate(reader.frames()):
        if count >= limits.max_decoded or time.monotonic() > deadline:
            raise UserError(
                f"{reader.name} took more than {limits.max_decoded} frames or {limits.seconds:g} s to decode one "
                "crop: cut it into shorter clips, or raise Limits"
            )
        now = seconds - origin
        while shown is not None and len(chosen) < num_frames and start + len(chosen) / rate < now - 1e-3:
            pixels = resize_crop(reader.rgb(shown), *size) if pixels is None else pixels
            chosen.append(pixels)
        if len(chosen) == num_frames:
            return chosen
        length = (
            float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 1 / reader.fps
        )
        shown, pixels, end = frame, None, now + length
    if shown is None:
        raise UserError(f"{reader.name} has no frames in its video track: copy or make it again")
    while len(chosen) < num_frames and (not chosen or start + len(chosen) / rate < end - 1e-3):
        pixels = resize_crop(reader.rgb(shown), *size) if pixels is None else pixels
        chosen.append(pixels)
    return chosen
