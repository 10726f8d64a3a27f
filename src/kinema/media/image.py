"""One still picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError
from kinema.media.files import PathLike, extension, opened, write_bytes
from kinema.media.stills import MAX_PIXELS, decode_image, encode_image

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels uint8 (H, W, 3) and what is known about them; `metadata["kinema"]` is a Provenance."""

    pixels: npt.NDArray[np.uint8]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape, kind = getattr(self.pixels, "shape", None), getattr(self.pixels, "dtype", type(self.pixels))
        if not isinstance(self.pixels, np.ndarray) or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise UserError(f"the image has shape {shape}: expected a uint8 array (H, W, 3)")
        if self.pixels.dtype != np.uint8 or 0 in self.pixels.shape:
            raise UserError(
                f"the image has shape {shape} and type {kind}: expected uint8 (H, W, 3), not empty"
            )

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])

    @classmethod
    def read(cls, path: PathLike, max_pixels: int = MAX_PIXELS) -> Image:
        """Read PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF (by content) as upright RGB.

        Transparency is laid on white, 16 bits cut to 8, CMYK converted; colour profiles are not applied.
        What was done stands in `metadata["notes"]`. Raises UserError for anything else.
        """
        with opened(path) as handle:
            pixels, metadata = decode_image(handle, str(path), max_pixels)
        return cls(pixels, metadata)

    def write(self, path: PathLike, overwrite: bool = False) -> None:
        """Write .png, .jpg, .jpeg or .webp, atomically, with the provenance inside."""
        suffix = extension(path, EXTENSIONS, "an image")
        data = encode_image(self.pixels, suffix, self.metadata, str(path))
        again, _ = decode_image(io.BytesIO(data), str(path), self.width * self.height)
        if again.shape != self.pixels.shape:
            raise RuntimeError(f"encoding {path} changed the shape to {again.shape}")
        write_bytes(path, data, overwrite)
