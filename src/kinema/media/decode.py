"""Videos through PyAV: frames with their times, upright and in RGB, and the sound that belongs to them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError
from kinema.media.boxes import missing_bytes, read_xmp
from kinema.media.files import FAMILY_WORD, Kind, sniff
from kinema.media.provenance import unpack
from kinema.media.sound import Sound, to_stereo
from kinema.media.stills import shrunk, tidy

_BT709, _UNSPECIFIED = 1, 2
_HDR = (16, 18)  # PQ and HLG
MAX_SIDE = 16_384


@contextmanager
def opened_container(handle: BinaryIO, name: str) -> Iterator[tuple[Any, Kind]]:
    """The PyAV container of an open file, its demuxer chosen by content; decode errors become sentences.

    FFmpeg only ever sees this one handle and a fixed demuxer, so a playlist cannot lead it to other files.
    """
    import av

    kind = sniff(handle, name)
    if kind.family == "image" or (kind.family == "sound" and kind.name != "OGG"):
        raise UserError(f"{name} is {FAMILY_WORD[kind.family]}, and a video was expected: read it as such")
    if kind.name == "mov" and (missing := missing_bytes(handle)):
        raise UserError(f"{name} is cut off, its last {missing} bytes are missing: copy or make it again")
    handle.seek(0)
    try:
        with av.open(handle, "r", format=kind.name.lower(), metadata_errors="replace") as container:
            yield container, kind
    except UserError:
        raise
    except (av.error.FFmpegError, ValueError, ArithmeticError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"{name} is cut off or damaged ({reason}): copy or make it again") from None


class VideoReader:
    """An open video: facts from its header, and frames by time. Use it through `open_video`."""

    def __init__(self, container: Any, name: str) -> None:
        if not container.streams.video:
            raise UserError(
                f"{name} has no video track, and a video was expected: read its sound with Sound.read"
            )
        self.container, self.name, self.notes = container, name, list[str]()
        self.stream = container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.thread_count = 2
        width, height = int(self.stream.codec_context.width), int(self.stream.codec_context.height)
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise UserError(f"{name} is {width}x{height} pixels: expected sides from 1 to {MAX_SIDE}")
        self.pixels = width * height
        rate = self.stream.average_rate or self.stream.guessed_rate or self.stream.base_rate
        self.fps = min(1000.0, float(rate)) if rate else 25.0
        self.first: float | None = None  # time of the first frame
        self.crop: tuple[int, int] | None = None  # (width, height) without the padding of an odd size

    @property
    def seconds(self) -> float:
        """The stated length of the picture track in seconds; 0.0 when the file does not say."""
        if self.stream.duration and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        return float(self.container.duration or 0) / 1e6

    @property
    def start(self) -> float:
        """The stated time of the first frame in seconds."""
        return float((self.stream.start_time or 0) * (self.stream.time_base or 0))

    def seek(self, seconds: float) -> None:
        """Go to the last key frame at or before `seconds` after the first frame."""
        if seconds > 0 and self.stream.time_base:
            self.container.seek(int((self.start + seconds) / self.stream.time_base), stream=self.stream)

    def frames(self) -> Iterator[tuple[float, Any]]:
        """(seconds, PyAV frame) from here to the end, in showing order; `rgb` makes pixels of the frame."""
        for count, frame in enumerate(self.container.decode(self.stream)):
            seconds = frame.time if frame.time is not None else count / self.fps
            if self.first is None:
                self.first = float(seconds)
            if frame.is_corrupt and count:
                raise UserError(f"{self.name} is damaged at {seconds:.2f} s: copy or make it again")
            yield float(seconds), frame

    def rgb(self, frame: Any) -> npt.NDArray[np.uint8]:
        """A PyAV frame as uint8 (H, W, 3): square pixels, upright, 8 bits, transparency on white."""
        width, aspect = frame.width, self.stream.sample_aspect_ratio
        if aspect and aspect != 1 and 0.1 < aspect < 10:
            width = max(1, round(width * aspect))
            self._note("stretched to square pixels")
        if any(component.bits > 8 for component in frame.format.components):
            self._note(f"{frame.format.components[0].bits} bits a channel cut to 8")
        if int(frame.color_trc) in _HDR:
            self._note("high dynamic range kept without tone mapping")
        matrix = int(frame.colorspace)
        if matrix == _UNSPECIFIED and not frame.format.is_rgb:  # the usual reading of an untagged file
            matrix = _BT709 if frame.height > 576 else 5
        layout = "rgba" if any(component.is_alpha for component in frame.format.components) else "rgb24"
        turned = frame.reformat(
            width=width,
            height=frame.height,
            format=layout,
            src_colorspace=None if frame.format.is_rgb else matrix,
        )
        pixels = turned.to_ndarray()
        if layout == "rgba":
            self._note("transparency laid on white")
            alpha = pixels[..., 3:].astype(np.uint16)
            pixels = ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        if self.crop is not None:
            pixels = pixels[: self.crop[1], : self.crop[0]]
        return np.ascontiguousarray(self._upright(pixels, frame))

    def _upright(self, pixels: npt.NDArray[np.uint8], frame: Any) -> npt.NDArray[np.uint8]:
        data = next((item for item in frame.side_data if item.type.name == "DISPLAYMATRIX"), None)
        if data is None:
            return pixels
        a, b, _, c, d = np.frombuffer(bytes(data), dtype="=i4")[:5].tolist()
        if (a, b, c, d) == (65536, 0, 0, 65536):
            return pixels
        self._note("turned upright by its display matrix")  # x' = a x + c y, y' = b x + d y
        if abs(b) > abs(a):
            pixels, flip_rows, flip_columns = pixels.transpose(1, 0, 2), b < 0, c < 0
        else:
            flip_rows, flip_columns = d < 0, a < 0
        return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


@contextmanager
def open_video(handle: BinaryIO, name: str) -> Iterator[VideoReader]:
    """A VideoReader on an open file. Raises UserError when it is no video, cut off or damaged."""
    with opened_container(handle, name) as (container, _):
        reader = VideoReader(container, name)
        size = unpack(container_comment(container))[1].get("frame_size")
        if (
            isinstance(size, list)
            and len(size) == 2
            and all(isinstance(side, int) and side > 0 for side in size)
        ):
            reader.crop = (size[0], size[1])
        yield reader


def container_comment(container: Any) -> str | None:
    """The comment tag of a container, however its writer spelt it."""
    tags = {str(key).lower(): str(value) for key, value in container.metadata.items()}
    return tags.get("comment") or tags.get("description")


def movie_comment(handle: BinaryIO, name: str) -> str | None:
    """The JSON record of a video file: its comment tag, else the XMP box. No frame is decoded."""
    with opened_container(handle, name) as (container, kind):
        text = container_comment(container)
    if unpack(text) == (None, {}) and kind.name == "mov":
        return read_xmp(handle)
    return text


def regular(times: npt.NDArray[np.float64]) -> bool:
    """Whether frame times are evenly spaced, up to rounded stamps (2 ms or a quarter of the gap)."""
    if len(times) < 3:
        return True
    gaps = np.diff(times)
    middle = float(np.median(gaps))
    return middle > 0 and float(np.abs(gaps - middle).max()) <= max(0.0021, 0.25 * middle)


def even_grid(times: npt.NDArray[np.float64], end: float, fps: float) -> npt.NDArray[np.int64]:
    """For every tick of a constant grid from times[0] to `end`, the index of the frame that is shown then."""
    count = max(1, round((end - times[0]) * fps))
    ticks = times[0] + np.arange(count) / fps
    shown: npt.NDArray[np.int64] = np.searchsorted(times, ticks + 1e-4, side="right") - 1
    return np.clip(shown, 0, len(times) - 1)


def read_frames(
    handle: BinaryIO, name: str, max_frames: int | None, max_bytes: int, max_side: int | None = None
) -> tuple[npt.NDArray[np.uint8], float, Sound | None, dict[str, Any]]:
    """Frames (T, H, W, 3) on a constant grid, frames a second, sound or None, metadata; for `Video.read`."""
    with open_video(handle, name) as reader:
        budget = max_bytes // (3 * reader.pixels)
        if max_side is not None:
            budget = max(budget, max_bytes // (3 * max_side**2))
        times, frames, end = list[float](), list[npt.NDArray[np.uint8]](), 0.0
        for seconds, frame in reader.frames():
            elapsed = seconds - times[0] if times else 0.0
            if (
                max_frames is not None
                and len(frames) >= max_frames
                and elapsed >= max_frames / reader.fps - 1e-3
            ):
                break
            if len(frames) >= budget:
                raise UserError(
                    f"{name} has more than {budget} frames of {frame.width}x{frame.height}, the limit of "
                    f"{max_bytes / 2**30:.1f} GiB: pass max_frames, or cut it into parts"
                )
            times.append(seconds)
            frames.append(shrunk(reader.rgb(frame), max_side))
            length = (
                float(frame.duration * frame.time_base)
                if frame.duration and frame.time_base
                else 1 / reader.fps
            )
            end = seconds + length
        if not frames:
            raise UserError(f"{name} has no frames in its video track: copy or make it again")
        whole = max_frames is None or len(frames) < max_frames
        if whole and reader.seconds - (end - times[0]) > max(0.5, 0.1 * reader.seconds):
            raise UserError(f"{name} is cut off: {end - times[0]:.2f} s of {reader.seconds:.2f} s are there")
        record = container_comment(reader.container)
        fps, notes = reader.fps, reader.notes
    stamps = np.asarray(times, np.float64)
    if regular(stamps):
        measured = (len(stamps) - 1) / (stamps[-1] - stamps[0]) if len(stamps) > 1 else fps
        fps = fps if abs(measured / fps - 1) < 0.01 else float(measured)
        stacked = np.stack(frames)
    else:
        notes.append(f"variable frame rate put on a grid of {fps:.3f} a second")
        stacked = np.stack(frames)[even_grid(stamps, end, fps)]
    if max_frames is not None:
        stacked = stacked[:max_frames]
    handle.seek(0)
    limit = None if whole else len(stacked) / fps
    sound = sound_of(handle, name, start=times[0], seconds=limit)
    provenance, _ = unpack(record)
    if provenance is None:
        provenance, _ = unpack(movie_comment(handle, name))
    if sound is not None:
        notes.extend(sound.metadata.get("notes", ()))
    return stacked, fps, sound, tidy(provenance, notes)


def sound_of(
    handle: BinaryIO, name: str, start: float | None = None, seconds: float | None = None
) -> Sound | None:
    """The first sound track of a container, without the codec's padding; None when there is none.

    With `start` (the time of the first picture) it is padded or cut so that both begin together; `seconds`
    ends it early. More than two channels become stereo.
    """
    import av

    with opened_container(handle, name) as (container, _):
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        stated = (
            float(stream.duration * stream.time_base) if stream.duration and stream.time_base else math.inf
        )
        track_start = float((stream.start_time or 0) * (stream.time_base or 0))
        blocks: list[npt.NDArray[np.float32]] = []
        resampler, rate, speakers, begin, total = None, 0, tuple[str, ...](), 0.0, 0
        for frame in container.decode(stream):
            if resampler is None:
                layout, rate = frame.layout, int(frame.sample_rate)
                speakers = tuple(channel.name for channel in layout.channels)
                begin = float(frame.time or 0.0)
                resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
            for block in resampler.resample(frame):
                blocks.append(block.to_ndarray().astype(np.float32))
                total += block.samples
            if seconds is not None and total > (seconds + abs(begin - (start or 0.0)) + 1.0) * rate:
                break
        if resampler is None or not blocks:
            return None
    samples = np.concatenate(blocks, axis=1)
    if math.isfinite(stated):
        samples = samples[:, : max(1, round((stated + track_start - begin) * rate))]
    if start is not None:
        shift = round((begin - start) * rate)
        samples = np.pad(samples, ((0, 0), (shift, 0))) if shift > 0 else samples[:, -shift:]
    if seconds is not None:
        samples = samples[:, : round(seconds * rate)]
    notes: list[str] = []
    if samples.shape[0] > 2:
        notes.append(f"{samples.shape[0]} channels mixed down to stereo")
        samples = to_stereo(samples, speakers)
    clean = np.nan_to_num(np.clip(samples, -1.0, 1.0)).astype(np.float32)
    return Sound(np.ascontiguousarray(clean), rate, tidy(None, notes))
