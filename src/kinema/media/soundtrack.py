"""Another sound under a file's own picture: the picture is copied as it stands, bit for bit, where MP4 can hold it."""

from __future__ import annotations

import errno
import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError
from kinema.media.boxes import append_xmp
from kinema.media.decode import container_comment, open_video
from kinema.media.encode import sound_packets, sound_track
from kinema.media.files import PathLike, atomic, extension, opened, sniff
from kinema.media.provenance import Provenance, pack, provenance_in, unpack
from kinema.media.sound import Sound
from kinema.media.video import Video

_CODINGS = ("h264", "hevc", "av1", "vp9", "mpeg4")  # that MP4 holds, and players play from it
_CONTAINERS = ("mov", "matroska")  # with a time for every packet; of others the picture is encoded again
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)

# A packet as it must be found again: seconds after the first picture, decoded but not shown, its bytes.
Facts = list[tuple[Fraction, bool, int]]


class _CannotCopyError(Exception):
    """The picture is to be encoded again."""


def write_soundtrack(
    source: PathLike,
    target: PathLike,
    sound: Sound,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> bool:
    """Write the picture of `source` with `sound` as its only sound track to `target`, an MP4 that may not be `source`.

    The sound begins with the first picture and may end before or after the last. The picture's packets are copied
    and held against the source's afterwards; where MP4 cannot hold them, or an animated WebP or GIF is given, they
    are encoded at the rate that `Video.read` finds. Atomic; `metadata["kinema"]` travels inside.

    Returns:
        Whether the picture was copied.

    Raises:
        UserError: the source is no video or damaged, the target exists, or cannot be written.
    """
    extension(target, (".mp4",), "a video with sound")
    if not 1 <= sound.channels <= 2 or sound.samples.shape[1] == 0:
        raise UserError(
            f"the sound has shape {sound.samples.shape}: mono or stereo with some samples was expected"
        )
    if Path(target).exists() and Path(target).samefile(source):
        raise UserError(f"'{target}' is the clip itself: choose another name for the one with the new sound")
    known = metadata or {}
    with opened(source) as handle:
        if sniff(handle, str(source)).name in _CONTAINERS:
            try:
                with atomic(target, overwrite) as temporary:
                    _copy(handle, str(source), temporary, sound, provenance_in(known))
                return True
            except _CannotCopyError:
                pass
    video = Video.read(source)
    replace(video, sound=sound, metadata=known).write(target, overwrite)
    return False


def _copy(handle: BinaryIO, name: str, target: Path, sound: Sound, provenance: Provenance | None) -> None:
    import av

    with open_video(handle, name) as reader:
        if reader.stream.codec_context.codec.canonical_name not in _CODINGS:
            raise _CannotCopyError
        start, facts = _facts(reader)
        size = unpack(container_comment(reader.container))[1].get("frame_size")
    text = pack(provenance, **({} if size is None else {"frame_size": size}))
    try:
        with (
            open_video(handle, name) as reader,
            av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as out,
        ):
            if text is not None:
                out.metadata["comment"] = text
            picture = out.add_stream_from_template(reader.stream, opaque=True)
            track = sound_track(out, sound.samples)
            heard = list(sound_packets(track, sound.samples, sound.rate))
            for packet in heapq.merge(_shown(reader, picture, start), heard, key=_moment):
                out.mux(packet)
    except av.error.FFmpegError as error:
        if error.errno in _OF_THE_DISK:
            raise
        raise _CannotCopyError from None
    if provenance is not None and text is not None:
        append_xmp(target, json.dumps(json.loads(text), sort_keys=True))
    with open(target, "rb") as written:
        with open_video(written, "the written video") as reader:
            whole = bool(reader.container.streams.audio) and _alike(_facts(reader)[1], facts)
        # The first picture as it is shown: turned, cropped and coloured as it was.
        if not whole or not np.array_equal(_first(handle, name), _first(written, "the written video")):
            raise _CannotCopyError


def _first(handle: BinaryIO, name: str) -> npt.NDArray[np.uint8]:
    with open_video(handle, name) as reader:
        _, frame = next(reader.frames())
        return reader.rgb(frame)


def _packets(reader: Any) -> Iterator[Any]:
    """The packets of the picture; decoding times that Matroska leaves out count back from the next."""
    waiting: list[Any] = []
    for packet in reader.container.demux(reader.stream):
        if packet.size == 0:  # the sign of the end
            continue
        if packet.pts is None:
            raise _CannotCopyError
        waiting.append(packet)
        if packet.dts is not None:
            for back, earlier in enumerate(reversed(waiting[:-1]), start=1):
                earlier.dts = packet.dts - back * max(1, packet.duration or 1)
            yield from waiting
            waiting = []
    if waiting:
        raise _CannotCopyError


def _facts(reader: Any) -> tuple[int, Facts]:
    """The first picture's time in the stream's units, and what is known of every packet."""
    found = [(packet.pts, packet.is_discard, hash(bytes(packet))) for packet in _packets(reader)]
    if not found:
        raise UserError(f"{reader.name} has no frames in its video track: copy or make it again")
    start = min((time for time, unseen, _ in found if not unseen), default=0)
    unit = reader.stream.time_base
    return start, [((time - start) * unit, unseen, content) for time, unseen, content in found]


def _alike(one: Facts, other: Facts) -> bool:
    near = Fraction(1, 1000)
    return len(one) == len(other) and all(
        abs(a[0] - b[0]) <= near and a[1:] == b[1:] for a, b in zip(one, other, strict=True)
    )


def _shown(reader: Any, stream: Any, start: int) -> Iterator[Any]:
    """The packets of the picture, the first shown at zero."""
    for packet in _packets(reader):
        packet.pts, packet.dts = packet.pts - start, packet.dts - start
        packet.stream = stream
        yield packet


def _moment(packet: Any) -> Fraction:
    return Fraction(packet.dts) * packet.time_base
