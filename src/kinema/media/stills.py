"""Pictures through Pillow: odd colour modes into plain RGB, animations into frames with times."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps
from PIL import ImageSequence

from kinema.errors import UserError
from kinema.media.files import FAMILY_WORD, sniff
from kinema.media.provenance import pack, provenance_in, unpack

MAX_PIXELS = 100_000_000
_USER_COMMENT, _EXIF_IFD = 0x9286, 0x8769
_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_MAX_EXIF = 60_000  # a JPEG marker holds 65,533 bytes


@contextmanager
def opened_picture(handle: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Iterator[PIL.Image.Image]:
    """The file as a Pillow image, its size checked before decoding; decode errors become sentences."""
    kind = sniff(handle, name)
    if kind.family != "image":
        raise UserError(f"{name} is {FAMILY_WORD[kind.family]}, and an image was expected: read it as such")
    if kind.name == "HEIC":
        raise UserError(f"{name} is a HEIC image, which kinema does not decode: save it as JPEG or PNG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(handle, formats=[kind.name])
        if image.width * image.height > max_pixels:
            raise _too_large(f"{image.width}x{image.height} pixels", name, max_pixels)
        yield image
    except UserError:
        raise
    except PIL.Image.DecompressionBombError:
        raise _too_large("far more pixels", name, max_pixels) from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise UserError(f"{name} is cut off or damaged ({_short(error)}): make or copy it again") from None


def _too_large(what: str, name: str, limit: int) -> UserError:
    return UserError(
        f"{name} has {what} and at most {limit} are decoded: make it smaller or raise max_pixels"
    )


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def rgb(image: PIL.Image.Image, notes: list[str]) -> npt.NDArray[np.uint8]:
    """Any Pillow mode as uint8 (H, W, 3): upright, on white where transparent, 8 bits, RGB."""
    if image.getexif().get(0x0112, 1) not in (0, 1):
        notes.append("turned upright by its EXIF orientation")
        image = PIL.ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64)
        if wide.size and (wide.min() < 0 or wide.max() > 65535):
            raise ValueError("its 32-bit values have no known range, save it with 8 or 16 bits")
        notes.append("16 bits a channel cut to 8")
        grey = ((wide * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its floating-point values have no known range, save it with 8 or 16 bits")
    if image.mode in _ALPHA or "transparency" in image.info:
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            notes.append("transparency laid on white")
        white = PIL.Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, layer)
    if image.mode == "CMYK":
        notes.append("CMYK converted to RGB")
    return np.array(image.convert("RGB"), dtype=np.uint8)


def shrunk(pixels: npt.NDArray[np.uint8], max_side: int | None) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, 3) no longer than `max_side` on either side, in proportion, each the mean of those it covers."""
    height, width = pixels.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return pixels
    size = tuple(max(1, round(side * max_side / max(height, width))) for side in (width, height))
    return np.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.BOX))


def decode_image(handle: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> tuple[Any, dict[str, Any]]:
    """The first picture of an image file: pixels uint8 (H, W, 3) and its metadata."""
    notes: list[str] = []
    with opened_picture(handle, name, max_pixels) as image:
        provenance, _ = unpack(picture_comment(image))
        if getattr(image, "n_frames", 1) > 1:
            notes.append("the first picture of an animation")
        pixels = rgb(image, notes)
    return pixels, tidy(provenance, notes)


def tidy(provenance: Any, notes: list[str]) -> dict[str, Any]:
    """Metadata as the media classes carry it: `kinema` and `notes`, each only when not empty."""
    metadata: dict[str, Any] = {}
    if provenance is not None:
        metadata["kinema"] = provenance
    if notes:
        metadata["notes"] = tuple(dict.fromkeys(notes))
    return metadata


def picture_frames(image: PIL.Image.Image, notes: list[str]) -> Iterator[tuple[float, float, Any]]:
    """The pictures of an animation in order: (start in seconds, duration in seconds, uint8 (H, W, 3))."""
    start = 0.0
    for picture in ImageSequence.Iterator(image):
        pixels = rgb(picture, notes)
        milliseconds = float(picture.info.get("duration", 0) or 0)
        duration = milliseconds / 1000 if milliseconds > 0 else 0.1  # what browsers do with a zero
        yield start, duration, pixels
        start += duration


def picture_comment(image: PIL.Image.Image) -> str | None:
    """The text in which kinema keeps provenance: PNG chunk `kinema`, EXIF UserComment, or a GIF's comment."""
    info = image.info
    if isinstance(info.get("kinema"), str):
        return '{"kinema": ' + str(info["kinema"]) + "}"
    if image.format == "GIF" and isinstance(info.get("comment"), bytes):
        return bytes(info["comment"]).decode(errors="replace")
    value = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    if isinstance(value, str):
        value = value.encode(errors="replace")
    if isinstance(value, bytes) and value[:8] == b"ASCII\0\0\0":
        return value[8:].decode(errors="replace").rstrip("\0")
    return None


def comment_exif(metadata: Any, name: str) -> bytes | None:
    """EXIF with the provenance in UserComment, for JPEG and WebP."""
    text = pack(provenance_in(metadata))
    if text is None:
        return None
    if len(text) > _MAX_EXIF:
        raise UserError(f"{name} cannot hold {len(text)} bytes of provenance in EXIF: write it as .png")
    exif = PIL.Image.Exif()
    exif[0x0131] = "kinema"  # Software
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"ASCII\0\0\0" + text.encode("ascii")
    return exif.tobytes()


def encode_image(pixels: npt.NDArray[np.uint8], suffix: str, metadata: Any, name: str) -> bytes:
    """One picture as PNG, JPEG or WebP bytes with its provenance inside."""
    from PIL.PngImagePlugin import PngInfo

    image, out = PIL.Image.fromarray(pixels), io.BytesIO()
    provenance = provenance_in(metadata)
    if suffix == ".png":
        info = PngInfo()
        if provenance is not None:
            info.add_text("kinema", provenance.to_json())
            info.add_text("parameters", provenance.to_parameters())
        image.save(out, "PNG", pnginfo=info)
    else:
        exif = comment_exif(metadata, name)
        options: dict[str, Any] = {} if exif is None else {"exif": exif}
        if suffix == ".webp":
            _webp_size(image, name)
            image.save(out, "WEBP", quality=95, method=4, **options)
        else:
            image.save(out, "JPEG", quality=95, subsampling=0, **options)
    return out.getvalue()


def encode_animation(
    frames: npt.NDArray[np.uint8], fps: float, suffix: str, metadata: Any, name: str
) -> bytes:
    """Frames (T, H, W, 3) as a looping WebP or GIF; times are whole milliseconds (GIF: 10 ms)."""
    unit = 10 if suffix == ".gif" else 1
    edges = [round(1000 * index / fps / unit) * unit for index in range(len(frames) + 1)]
    times = [max(unit, end - start) for start, end in pairwise(edges)]
    pictures, out = [PIL.Image.fromarray(frame) for frame in frames], io.BytesIO()
    shared: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "duration": times, "loop": 0}
    if suffix == ".gif":
        text = pack(provenance_in(metadata))
        if text is not None:
            shared["comment"] = text.encode("ascii")
        pictures[0].save(out, "GIF", disposal=1, **shared)
    else:
        _webp_size(pictures[0], name)
        exif = comment_exif(metadata, name)
        if exif is not None:
            shared["exif"] = exif
        pictures[0].save(out, "WEBP", quality=90, method=4, **shared)
    return out.getvalue()


def _webp_size(image: PIL.Image.Image, name: str) -> None:
    if max(image.size) > 16383:
        raise UserError(
            f"{name} would be {image.width}x{image.height} and WebP ends at 16383: write it as .png"
        )
