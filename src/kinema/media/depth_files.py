"""Depth in files: 16-bit PNG and NumPy's .npy with a text that says kind, unit and sign, and OpenEXR in float32.

The text is one JSON object under the name `kinema.depth`: a PNG text chunk, an EXR string attribute. The PNG's values
are offset + step * number, 0 where nothing is known; `offset` and `step` stand in the text.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import PIL.Image

from kinema.errors import UserError
from kinema.media.depth import KINDS, Depth, Intrinsics
from kinema.media.files import PathLike, extension, opened, write_bytes
from kinema.media.provenance import provenance_in

NAME: Final = "kinema.depth"
EXTENSIONS: Final = (".png", ".exr", ".npy")
LARGEST: Final = 65535
MAX_PIXELS: Final = 100_000_000
_EXR_MAGIC, _EXR_VERSION, _FLOAT = 20000630, 2, 2


def write_depth(depth: Depth, path: PathLike, overwrite: bool = False) -> None:
    """Write a depth map by the ending of its name; see `Depth.write`."""
    suffix = extension(path, EXTENSIONS, "a depth map")
    encode = {".png": _png, ".exr": _exr, ".npy": _npy}[suffix]
    write_bytes(path, encode(depth), overwrite)


def read_depth(path: PathLike) -> Depth:
    """Read a depth map that kinema wrote; see `Depth.read`."""
    suffix = extension(path, EXTENSIONS, "a depth map")
    with opened(path) as file:
        data = file.read()
    name = Path(path).name
    try:
        if suffix == ".png":
            return _read_png(data, name)
        return _read_exr(data, name) if suffix == ".exr" else _read_npy(data, name)
    except UserError:
        raise
    except (
        OSError,
        EOFError,
        SyntaxError,
        ValueError,
        KeyError,
        TypeError,
        struct.error,
        OverflowError,
    ) as error:
        raise UserError(
            f"'{name}' is damaged or no depth map of kinema ({error}): make or copy it again"
        ) from None


def _text(depth: Depth, **more: Any) -> str:
    record = {**depth.told(), **more}
    provenance = provenance_in(depth.metadata)
    if provenance is not None:
        record["made_by"] = json.loads(provenance.to_json())
    return json.dumps(record, sort_keys=True)


def _depth(values: npt.NDArray[Any], record: Mapping[str, Any], name: str) -> Depth:
    if record.get("kind") not in KINDS:
        raise UserError(f"'{name}' has depth of the kind {record.get('kind')!r}: expected {', '.join(KINDS)}")
    camera, made = record.get("intrinsics"), record.get("made_by")
    intrinsics = None if camera is None else Intrinsics(**camera)
    metadata = {"kinema": provenance_in({"kinema": made})} if isinstance(made, dict) else {}
    return Depth(values.astype(np.float32), record["kind"], intrinsics, metadata)


def _record(text: Any, name: str) -> dict[str, Any]:
    if not isinstance(text, str):
        raise UserError(
            f"'{name}' does not say what its numbers are (kind, unit, sign): build a Depth from the array yourself"
        )
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError("its text is not a table")
    return record


def _png(depth: Depth) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    known = depth.known
    found = depth.values[known].astype(np.float64)
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 0.0)
    step = (high - low) / (LARGEST - 1) or 1.0
    numbers = np.zeros(depth.values.shape, np.uint16)
    numbers[known] = np.rint((found - low) / step).astype(np.uint16) + 1  # 0 is kept for what is not known
    info, out = PngInfo(), io.BytesIO()
    info.add_text(NAME, _text(depth, offset=low - step, step=step))
    PIL.Image.fromarray(numbers).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _read_png(data: bytes, name: str) -> Depth:
    with PIL.Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(
                f"'{name}' has {image.width}x{image.height} pixels, and at most {MAX_PIXELS} are read"
            )
        numbers = np.array(image)
        record = _record(image.info.get(NAME), name)
    if numbers.ndim != 2 or numbers.dtype not in (np.uint16, np.int32):
        raise ValueError("it is not a 16-bit picture of one channel")
    values = float(record["offset"]) + float(record["step"]) * numbers.astype(np.float64)
    return _depth(np.where(numbers == 0, np.nan, values), record, name)


def _npy(depth: Depth) -> bytes:
    """A record array of one field would surprise readers, so the text stands behind the array's own bytes."""
    out = io.BytesIO()
    np.save(out, depth.values, allow_pickle=False)
    return out.getvalue() + f"\n{NAME} {_text(depth)}".encode()


def _read_npy(data: bytes, name: str) -> Depth:
    stream = io.BytesIO(data)
    values = np.load(stream, allow_pickle=False)
    marker, _, text = stream.read().decode().partition(" ")
    return _depth(values, _record(text if marker.strip() == NAME else None, name), name)


def _attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value


def _exr(depth: Depth) -> bytes:
    """OpenEXR: one part, scan lines, no compression, one float channel, `Y`.

    Not `Z`, although that is the name for depth: OpenCV, of all readers, gives zeros for it without a word.
    """
    rows, columns = depth.values.shape
    box = struct.pack("<4i", 0, 0, columns - 1, rows - 1)
    head = struct.pack("<2i", _EXR_MAGIC, _EXR_VERSION) + b"".join(
        [
            _attribute("channels", "chlist", b"Y\0" + struct.pack("<iB3x2i", _FLOAT, 0, 1, 1) + b"\0"),
            _attribute("compression", "compression", b"\0"),
            _attribute("dataWindow", "box2i", box),
            _attribute("displayWindow", "box2i", box),
            _attribute(NAME, "string", _text(depth).encode()),
            _attribute("lineOrder", "lineOrder", b"\0"),
            _attribute("pixelAspectRatio", "float", struct.pack("<f", 1.0)),
            _attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0.0, 0.0)),
            _attribute("screenWindowWidth", "float", struct.pack("<f", 1.0)),
            b"\0",
        ]
    )
    line = np.dtype([("y", "<i4"), ("size", "<i4"), ("values", "<f4", (columns,))])
    lines = np.empty(rows, line)
    lines["y"], lines["size"], lines["values"] = np.arange(rows), 4 * columns, depth.values
    offsets = len(head) + 8 * rows + line.itemsize * np.arange(rows, dtype="<u8")
    return head + offsets.astype("<u8").tobytes() + lines.tobytes()


def _read_exr(data: bytes, name: str) -> Depth:
    if len(data) < 8 or struct.unpack_from("<2i", data) != (_EXR_MAGIC, _EXR_VERSION):
        raise ValueError("it is not a single-part scan-line OpenEXR file")
    position = 8
    attributes: dict[str, bytes] = {}
    while data[position : position + 1] != b"\0":
        key_end = data.index(b"\0", position)
        kind_end = data.index(b"\0", key_end + 1)
        (size,) = struct.unpack_from("<i", data, kind_end + 1)
        start = kind_end + 5
        if size < 0 or start + size >= len(data):
            raise ValueError("its header is cut off")
        attributes[data[position:key_end].decode()] = data[start : start + size]
        position = start + size
    position += 1
    text = attributes.get(NAME)
    record = _record(None if text is None else text.decode(), name)
    if attributes["compression"] != b"\0" or struct.unpack_from("<i", attributes["channels"], 2)[0] != _FLOAT:
        raise ValueError("it was written by another program: kinema reads its own uncompressed float files")
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    rows, columns = bottom - top + 1, right - left + 1
    if rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        raise ValueError(f"its size of {columns}x{rows} pixels cannot be")
    line = np.dtype([("y", "<i4"), ("size", "<i4"), ("values", "<f4", (columns,))])
    if len(data) != position + 8 * rows + line.itemsize * rows:
        raise ValueError("it is cut off")
    return _depth(np.frombuffer(data, line, rows, position + 8 * rows)["values"], record, name)
