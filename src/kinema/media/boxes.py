"""The outer boxes of an MP4 file: is it whole, and a second copy of the provenance in an XMP box at its end.

Some hosts rewrite the `udta` box where the comment stands; a `uuid` box with an XMP packet outlives most of
them, and it also carries the IPTC term that says "made by a trained model".
"""

from __future__ import annotations

import html
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_MAX_XMP = 4 * 1024 * 1024
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:kinema="urn:kinema:1.0:"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    "<Iptc4xmpExt:DigitalSourceType>"
    "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    "</Iptc4xmpExt:DigitalSourceType>"
    "<kinema:record>{record}</kinema:record>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


class Box(NamedTuple):
    """One top-level box: its four-letter type, where its content starts and where it ends (bytes)."""

    type: bytes
    start: int
    end: int


def boxes(handle: BinaryIO) -> Iterator[Box]:
    """The top-level boxes in order. The last one may end beyond the file: then the file is cut off."""
    size = handle.seek(0, os.SEEK_END)
    position = 0
    while position + 8 <= size:
        handle.seek(position)
        length, kind = struct.unpack(">I4s", handle.read(8))
        start = position + 8
        if length == 1:
            wide = handle.read(8)
            if len(wide) < 8:
                return
            length, start = struct.unpack(">Q", wide)[0], position + 16
        elif length == 0:
            length = size - position
        if length < start - position:
            return
        yield Box(kind, start, position + length)
        position += length


def missing_bytes(handle: BinaryIO) -> int:
    """How many bytes an MP4 file lacks at its end by its own box sizes; 0 when it is whole."""
    end = max((box.end for box in boxes(handle)), default=0)
    return max(0, end - handle.seek(0, os.SEEK_END))


def append_xmp(path: Path, record: str) -> None:
    """Add the XMP box with `record` (JSON text) to the end of a finished MP4 file."""
    packet = _PACKET.format(record=html.escape(record)).encode()
    with open(path, "ab") as handle:
        handle.write(struct.pack(">I4s", 24 + len(packet), b"uuid") + XMP_UUID + packet)


def read_xmp(handle: BinaryIO) -> str | None:
    """The `record` that `append_xmp` wrote; None when there is none."""
    for box in list(boxes(handle)):
        if box.type != b"uuid" or box.end - box.start > _MAX_XMP:
            continue
        handle.seek(box.start)
        content = handle.read(box.end - box.start)
        if content[:16] != XMP_UUID:
            continue
        match = re.search(
            r"<kinema:record>(.*?)</kinema:record>", content[16:].decode(errors="replace"), re.DOTALL
        )
        if match:
            return html.unescape(match.group(1))
    return None
