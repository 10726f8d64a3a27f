"""Sound: samples in [-1, 1] at a rate."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError
from kinema.media.files import FAMILY_WORD, PathLike, extension, opened, sniff, write_bytes
from kinema.media.provenance import pack, provenance_in, unpack
from kinema.media.stills import tidy

EXTENSIONS = (".wav", ".flac")
LAYOUTS: dict[int, tuple[str, ...]] = {  # the WAV order of speakers by count
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
_HALF = 0.7071067811865476
_LEFT = {"FL": 1.0, "FC": _HALF, "BL": _HALF, "SL": _HALF, "BC": 0.5}
_RIGHT = {"FR": 1.0, "FC": _HALF, "BR": _HALF, "SR": _HALF, "BC": 0.5}
MAX_SAMPLES = 500_000_000


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples float32 (channels, n) in [-1, 1] at `rate` a second; `metadata["kinema"]` is a Provenance."""

    samples: npt.NDArray[np.float32]
    rate: int
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape, kind = getattr(self.samples, "shape", None), getattr(self.samples, "dtype", type(self.samples))
        if (
            not isinstance(self.samples, np.ndarray)
            or self.samples.ndim != 2
            or self.samples.dtype != np.float32
        ):
            raise UserError(
                f"the sound has shape {shape} and type {kind}: expected float32 (channels, samples)"
            )
        if not 1 <= self.samples.shape[0] <= 8:
            raise UserError(
                f"the sound has {self.samples.shape[0]} channels: expected shape (channels, samples)"
            )
        if not 1 <= self.rate <= 768_000:
            raise UserError(f"the sample rate is {self.rate}: expected samples per second, such as 48000")
        if not np.isfinite(self.samples).all():
            raise UserError("the sound has samples that are not finite: the model or its decoder broke down")

    @property
    def channels(self) -> int:
        """1 for mono, 2 for stereo."""
        return int(self.samples.shape[0])

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1] / self.rate)

    @classmethod
    def read(cls, path: PathLike) -> Sound:
        """Read WAV, FLAC, OGG, MP3, AIFF or the sound of a video. More than two channels become stereo."""
        with opened(path) as handle:
            return decode_sound(handle, str(path))

    def write(self, path: PathLike, overwrite: bool = False) -> None:
        """Write .wav or .flac (16 bits, clipped), atomically, with the provenance as a comment."""
        import soundfile

        suffix = extension(path, EXTENSIONS, "sound")
        text, out = pack(provenance_in(self.metadata)), io.BytesIO()
        options = {"format": suffix[1:].upper(), "subtype": "PCM_16"}
        try:
            with soundfile.SoundFile(out, "w", self.rate, self.channels, **options) as file:
                if text is not None:
                    file.comment = text
                file.write(np.clip(self.samples.T, -1.0, 1.0))
        except soundfile.SoundFileError as error:
            raise UserError(f"{path} cannot be encoded ({error}): another rate or .wav may do") from None
        write_bytes(path, out.getvalue(), overwrite)


def to_stereo(samples: npt.NDArray[np.float32], speakers: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Mix (C, n) with named speakers down to (2, n), scaled so that it never clips.

    Weights are those of ITU-R BS.775: centre and surround at 0.7071, the low-frequency channel left out.
    """
    weights = np.array([[side.get(name, 0.0) for name in speakers] for side in (_LEFT, _RIGHT)], np.float32)
    weights /= np.float32(max(1.0, float(weights.sum(axis=1).max())))
    return np.asarray(weights @ samples, np.float32)


def decode_sound(handle: BinaryIO, name: str) -> Sound:
    """A sound file, or the sound of a video file, from an open handle. Raises UserError."""
    kind = sniff(handle, name)
    if kind.family == "image":
        raise UserError(
            f"{name} is {FAMILY_WORD[kind.family]}, and sound was expected: give a WAV or FLAC file"
        )
    if kind.family == "video":
        from kinema.media.decode import sound_of

        sound = sound_of(handle, name)
        if sound is None:
            raise UserError(f"{name} has no sound track, and sound was expected: give a file that has one")
        return sound
    return _decode_plain(handle, name)


def _decode_plain(handle: BinaryIO, name: str) -> Sound:
    import soundfile

    notes: list[str] = []
    comment = riff_comment(handle)
    try:
        with soundfile.SoundFile(handle) as file:
            if file.frames * file.channels > MAX_SAMPLES:
                raise UserError(
                    f"{name} has {file.frames} samples, more than kinema reads at once: cut it into parts"
                )
            comment = comment or file.comment
            samples, rate, frames = file.read(dtype="float32", always_2d=True).T, file.samplerate, file.frames
    except soundfile.SoundFileError as error:
        raise UserError(
            f"{name} is cut off, damaged or of an unknown coding ({error}): make it again"
        ) from None
    if samples.shape[1] == 0:
        raise UserError(f"{name} has no samples, and sound was expected: make or copy it again")
    stated = _stated_samples(handle)
    if samples.shape[1] < max(frames, stated):
        raise UserError(
            f"{name} is cut off: {samples.shape[1]} of {max(frames, stated)} samples are there, copy it again"
        )
    if samples.shape[0] > 2:
        if samples.shape[0] not in LAYOUTS:
            raise UserError(
                f"{name} has {samples.shape[0]} channels, and at most 8 are known: mix it down first"
            )
        notes.append(f"{samples.shape[0]} channels mixed down to stereo")
        samples = to_stereo(samples, LAYOUTS[samples.shape[0]])
    provenance, _ = unpack(comment)
    clean = np.nan_to_num(np.clip(samples, -1.0, 1.0))
    return Sound(np.ascontiguousarray(clean, dtype=np.float32), int(rate), tidy(provenance, notes))


def _chunks(handle: BinaryIO) -> list[tuple[bytes, int, int]]:
    """The chunks of a RIFF/WAVE file: (id, start, stated size). The handle is left at its start."""
    found: list[tuple[bytes, int, int]] = []
    handle.seek(0)
    head = handle.read(12)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        while len(header := handle.read(8)) == 8:
            kind, size = struct.unpack("<4sI", header)
            found.append((kind, handle.tell(), size))
            handle.seek(size + size % 2, io.SEEK_CUR)
    handle.seek(0)
    return found


def riff_comment(handle: BinaryIO) -> str | None:
    """The ICMT text of a WAV file, any length; libsndfile drops long ones when it reads."""
    for kind, start, size in _chunks(handle):
        if kind != b"LIST" or size > 4 * 1024 * 1024:
            continue
        handle.seek(start)
        body = handle.read(size)
        handle.seek(0)
        position = 4
        while body[:4] == b"INFO" and position + 8 <= len(body):
            name, length = struct.unpack("<4sI", body[position : position + 8])
            if name == b"ICMT":
                return body[position + 8 : position + 8 + length].rstrip(b"\0").decode(errors="replace")
            position += 8 + length + length % 2
    return None


def _stated_samples(handle: BinaryIO) -> int:
    """Samples a channel that a WAV header promises; 0 when it does not say (streamed)."""
    block = 0
    for kind, start, size in _chunks(handle):
        if kind == b"fmt ":
            handle.seek(start + 12)
            block = struct.unpack("<H", handle.read(2))[0]
            handle.seek(0)
        if kind == b"data" and block and 0 < size < 0xFFFFF000:
            return size // block
    return 0
