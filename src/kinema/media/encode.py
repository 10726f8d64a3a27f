"""Frames and sound into one MP4: H.264 and AAC, the same bytes for the same input on one machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError
from kinema.media.boxes import append_xmp
from kinema.media.decode import open_video
from kinema.media.provenance import Provenance, pack

SOUND_RATE = 48_000
_BLOCK = 1024  # samples in one AAC frame


def write_mp4(
    path: Path,
    frames: npt.NDArray[np.uint8],
    fps: float,
    samples: npt.NDArray[np.float32] | None,
    rate: int,
    provenance: Provenance | None,
    crf: float,
) -> None:
    """Write frames (T, H, W, 3) and sound (C, n) or None to `path`, and decode it again to see it is whole.

    H.264 yuv420p (BT.709, limited range), index at the front, AAC at 48 kHz. yuv420p needs even sides: an odd
    one is padded by repeating its last row or column, and the file notes the true size, so that kinema's
    reader gives it back; other players show the one extra line.
    """
    import av

    count, height, width = frames.shape[:3]
    padded = (height + height % 2, width + width % 2)
    extra: dict[str, Any] = {"frame_size": [width, height]} if padded != (height, width) else {}
    text = pack(provenance, **extra)
    every = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        if text is not None:
            container.metadata["comment"] = text
        picture: Any = container.add_stream("libx264", rate=every)
        picture.width, picture.height, picture.pix_fmt = padded[1], padded[0], "yuv420p"
        picture.options = {
            "crf": f"{crf:g}",
            "preset": "medium",
            "g": str(max(1, round(2 * fps))),  # a key frame every two seconds, for seeking
            "mbtree": "0",  # x264's macroblock tree reads memory that it has not set: bytes would vary
            "threads": "1" if width * height <= 256 * 256 else "4",  # a fixed count: the bytes depend on it
        }
        context = picture.codec_context
        context.color_range = context.colorspace = context.color_primaries = context.color_trc = 1
        if samples is not None:
            track = sound_track(container, samples)
        for index, frame in enumerate(frames):
            container.mux(picture.encode(_picture(frame, padded, index, every)))
        container.mux(picture.encode())
        if samples is not None:
            for packet in sound_packets(track, samples, rate):
                container.mux(packet)
    if provenance is not None and text is not None:
        append_xmp(path, json.dumps(json.loads(text), sort_keys=True))
    _verify(path, count, padded, with_sound=samples is not None)


def _picture(frame: npt.NDArray[np.uint8], padded: tuple[int, int], index: int, every: Fraction) -> Any:
    import av

    below, right = padded[0] - frame.shape[0], padded[1] - frame.shape[1]
    if below or right:
        frame = np.pad(frame, ((0, below), (0, right), (0, 0)), mode="edge")
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    picture = picture.reformat(format="yuv420p", dst_colorspace=1, dst_color_range="MPEG")
    picture.pts, picture.time_base = index, 1 / every
    return picture


def sound_track(container: Any, samples: npt.NDArray[np.float32]) -> Any:
    """A new AAC stream of an open file for sound (C, n)."""
    track = container.add_stream("aac", rate=SOUND_RATE)
    track.layout = "stereo" if samples.shape[0] == 2 else "mono"
    track.bit_rate = 96_000 * samples.shape[0]
    return track


def resample(samples: npt.NDArray[np.float32], rate: int, new_rate: int) -> npt.NDArray[np.float32]:
    """Sound (C, n) at another rate, C at most 2: (C, round(n * new_rate / rate))."""
    import av

    if rate == new_rate:
        return samples
    layout = "stereo" if samples.shape[0] == 2 else "mono"
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=new_rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate = rate
    blocks = [block.to_ndarray() for piece in (frame, None) for block in resampler.resample(piece)]
    count = round(samples.shape[1] * new_rate / rate)
    joined = np.concatenate([*blocks, np.zeros((samples.shape[0], 64), np.float32)], axis=1)[:, :count]
    return np.pad(joined, ((0, 0), (0, count - joined.shape[1]))).astype(np.float32)


def sound_packets(track: Any, samples: npt.NDArray[np.float32], rate: int) -> Iterator[Any]:
    """The packets of sound (C, n) for a stream that `sound_track` made, in order."""
    import av

    at_rate = np.clip(resample(samples, rate, SOUND_RATE), -1.0, 1.0)
    for start in range(0, at_rate.shape[1], _BLOCK):
        block = np.ascontiguousarray(at_rate[:, start : start + _BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=track.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
        yield from track.encode(frame)
    yield from track.encode()


def _verify(path: Path, count: int, size: tuple[int, int], with_sound: bool) -> None:
    with open(path, "rb") as handle, open_video(handle, "the written video") as reader:
        found = sum((frame.height, frame.width) == size for _, frame in reader.frames())
        heard = bool(reader.container.streams.audio)
    if found != count or heard != with_sound:
        raise UserError(f"the written video holds {found} of {count} frames after decoding: write it again")
