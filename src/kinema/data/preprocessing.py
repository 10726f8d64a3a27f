"""What must happen to a picture before a network sees it: size, crop, interpolation and statistics, kept with weights.

The steps are those of the published evaluation scripts (Pillow's resampling on 8 bits, whole pixels cropped), so that a
file's published accuracy belongs to them.
"""

# T frames, H W rows and columns, S the network's side

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from kinema.errors import UserError
from kinema.settings import known_settings, plain_settings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_PIXELS = 2**26  # of a frame after resizing: a strip would grow without end
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From 8-bit pixels to what a network was evaluated with.

    Args:
        size: rows and columns that the network sees.
        fit: `crop` brings the short side to `resize` and cuts the middle out; `stretch` makes a square of the whole
            picture, whatever its shape was.
        resize: the short side before the crop; None for `size` itself.
        mean, std: of the three channels, in [0, 1].
    """

    size: int = 224
    fit: Literal["crop", "stretch"] = "crop"
    resize: int | None = None
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))  # JSON gives lists
        object.__setattr__(self, "std", tuple(self.std))
        if self.size < 1 or (self.resize is not None and self.resize < self.size):
            raise UserError(
                f"size={self.size} cannot be cut out of resize={self.resize}: it must be as large"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise UserError(f"mean={self.mean} and std={self.std} must be three numbers each, std above 0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))

    def image(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        """uint8 (H, W, 3) -> (3, S, S), normalised.

        Raises UserError for a strip that would become larger than 64 megapixels.
        """
        cut = torch.from_numpy(np.asarray(self._fitted(pixels)).copy())  # (S, S, 3)
        return self.normalise(cut.permute(2, 0, 1).float() / 255)

    def clip(self, frames: npt.NDArray[np.uint8]) -> Tensor:
        """uint8 (T, H, W, 3) -> (3, T, S, S), each frame as `image` does it."""
        return torch.stack([self.image(frame) for frame in frames], 1)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(..., 3, S, S) in [0, 1] -> the network's scale."""
        return (pixels - self._channels(self.mean, pixels)) / self._channels(self.std, pixels)

    def pixels(self, x: Tensor) -> Tensor:
        """The inverse of `normalise`; of clips (B, 3, T, S, S) too."""
        shape = (3, *[1] * (x.ndim - 2))
        mean, std = (
            torch.tensor(v, dtype=x.dtype, device=x.device).view(shape) for v in (self.mean, self.std)
        )
        return x * std + mean

    @staticmethod
    def _channels(values: tuple[float, float, float], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(3, 1, 1)

    def _fitted(self, pixels: npt.NDArray[np.uint8]) -> Image.Image:
        picture, size = Image.fromarray(pixels), self.size
        if self.fit == "stretch":
            return picture.resize((size, size), _FILTERS[self.interpolation])
        short = self.resize or size
        width, height = picture.size
        wide, high = (
            (int(short * width / height), short) if height <= width else (short, int(short * height / width))
        )
        if wide * high > MAX_PIXELS:
            raise UserError(f"a picture of {width} x {height} pixels is too thin a strip: crop it first")
        picture = picture.resize((wide, high), _FILTERS[self.interpolation])
        left, top = round((wide - size) / 2), round((high - size) / 2)
        return picture.crop((left, top, left + size, top + size))
