"""Images, videos and sound: read, written and shown, with provenance travelling inside the file.

Importing this package loads numpy and Pillow, never torch; `to_tensor` and `to_uint8` import it when called.
"""

from __future__ import annotations

from kinema.media.image import Image
from kinema.media.provenance import Provenance
from kinema.media.sheet import contact_sheet
from kinema.media.sound import Sound
from kinema.media.tags import read_provenance
from kinema.media.tensors import to_tensor, to_uint8
from kinema.media.video import Video

__all__ = [
    "Image",
    "Provenance",
    "Sound",
    "Video",
    "contact_sheet",
    "read_provenance",
    "to_tensor",
    "to_uint8",
]
