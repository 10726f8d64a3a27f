"""Opening files by content, and writing them so that a half-written file never stands under its name."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kinema.errors import UserError

PathLike = str | os.PathLike[str]


class Kind(NamedTuple):
    """What a file is by its first bytes. `family` is image, video or sound, `name` the reader."""

    family: str
    name: str


_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", Kind("image", "PNG")),
    (0, b"\xff\xd8\xff", Kind("image", "JPEG")),
    (0, b"GIF8", Kind("image", "GIF")),
    (8, b"WEBP", Kind("image", "WEBP")),
    (0, b"BM", Kind("image", "BMP")),
    (0, b"II*\x00", Kind("image", "TIFF")),
    (0, b"MM\x00*", Kind("image", "TIFF")),
    (8, b"AVI ", Kind("video", "avi")),
    (8, b"WAVE", Kind("sound", "WAV")),
    (8, b"AIF", Kind("sound", "AIFF")),
    (0, b"fLaC", Kind("sound", "FLAC")),
    (0, b"ID3", Kind("sound", "MP3")),
    (0, b"\xff\xfb", Kind("sound", "MP3")),
    (0, b"\xff\xf3", Kind("sound", "MP3")),
    (0, b"OggS", Kind("sound", "OGG")),
    (0, b"\x1a\x45\xdf\xa3", Kind("video", "matroska")),
    (0, b"FLV\x01", Kind("video", "flv")),
    (0, b"\x00\x00\x01\xba", Kind("video", "mpeg")),
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot")
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1")
FAMILY_WORD = {"image": "an image", "video": "a video", "sound": "a sound file"}


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file from its first 400 bytes; None when it is nothing that kinema reads.

    Only the bytes decide, never the name: a text file called `.mp4` must not reach a demuxer that would
    follow the paths written in it.
    """
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return Kind("image", "AVIF" if head[8:11] == b"avi" else "HEIC")
    if head[4:8] in _BOXES:
        return Kind("video", "mov")
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            if offset == 8 and head[:4] not in (b"RIFF", b"FORM"):
                continue
            return kind
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return Kind("video", "mpegts")
    return None


def sniff(handle: BinaryIO, name: str) -> Kind:
    """`kind_of` an open file, which is left at its start. Raises UserError when it is empty or no media."""
    handle.seek(0)
    head = handle.read(400)
    handle.seek(0)
    if not head:
        raise UserError(f"{name} is empty (0 bytes), and a media file was expected: make or copy it again")
    kind = kind_of(head)
    if kind is None:
        raise UserError(
            f"{name} is not a media file by its content, whatever its name says: "
            "give an image, a video or a sound file"
        )
    return kind


@contextmanager
def opened(path: PathLike) -> Iterator[BinaryIO]:
    """The file open for reading; a missing, forbidden or special file becomes one sentence."""
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise UserError(
                f"{file} is not a regular file, and a media file was expected: give the file's own path"
            )
        handle = open(file, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise UserError(f"{file} does not exist: check the path") from None
    except PermissionError:
        raise UserError(
            f"{file} cannot be read, permission is missing: change its mode or its owner"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be opened ({_reason(error)}): check the path") from None
    with handle:
        yield handle


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


def _sentence(error: Exception, target: Path) -> UserError:
    code = getattr(error, "errno", None)
    folder = target.parent
    if code == errno.ENOENT or code == errno.ENOTDIR:
        return UserError(f"{target} cannot be written, the folder {folder} does not exist: create it first")
    if code in (errno.EACCES, errno.EPERM):
        return UserError(
            f"{target} cannot be written, there is no permission to write in {folder}: choose another folder"
        )
    if code == errno.EROFS:
        return UserError(
            f"{target} cannot be written, {folder} is on a read-only disk: choose another folder"
        )
    if code in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{target} cannot be written, the disk is full: free some space or choose another folder"
        )
    return UserError(f"{target} cannot be written ({_reason(error)}): choose another name or folder")


@contextmanager
def atomic(path: PathLike, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path in the target's folder; it becomes `path` when the block ends well, or is removed.

    Raises UserError when the target exists (unless `overwrite`), when its folder is missing or closed, and
    when the disk is full. Killed in the middle, only a hidden `.part` file is left, the target is untouched.
    """
    target = Path(path)
    if os.path.isdir(target):
        raise UserError(f"{target} is a folder, and a file name was expected: add a name with its extension")
    _refuse_existing(target, overwrite)
    stem = target.name.encode()[:120].decode(errors="ignore")
    temporary = Path(os.path.abspath(target.with_name(f".{stem}.{secrets.token_hex(6)}.part")))
    try:
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            _publish(temporary, target, overwrite)
        except UserError:
            raise
        except Exception as error:
            if isinstance(error, OSError) or hasattr(error, "errno"):  # PyAV's errors carry errno, too
                raise _sentence(error, target) from None
            raise
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if not overwrite and os.path.lexists(target):
        raise UserError(f"{target} exists already and is kept: choose another name or pass overwrite=True")


def _publish(temporary: Path, target: Path, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(temporary, target)  # fails when another process made the target meanwhile
            return
        except FileExistsError:
            _refuse_existing(target, overwrite)
        except OSError:
            _refuse_existing(target, overwrite)  # a file system without hard links
    os.replace(temporary, target)


def write_bytes(path: PathLike, data: bytes, overwrite: bool = False) -> None:
    """Write a whole file atomically; see `atomic`."""
    with atomic(path, overwrite) as temporary, open(temporary, "wb") as handle:
        handle.write(data)


def extension(path: PathLike, allowed: tuple[str, ...], what: str) -> str:
    """The lower-case extension of an output path; UserError unless it is one of `allowed`."""
    suffix = Path(path).suffix.lower()
    if suffix not in allowed:
        raise UserError(
            f"{path} has the extension {suffix or '(none)'}: {what} has {', '.join(allowed)}, rename it"
        )
    return suffix
