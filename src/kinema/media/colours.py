"""A number in [0, 1] as a colour, for pictures of depth: dark violet is 0, pale yellow 1, brighter all the way."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

# Evenly spaced; lightness rises from one to the next, so that the picture also reads in grey.
STOPS: Final = np.array(
    [
        (12, 8, 38),
        (66, 20, 106),
        (136, 36, 122),
        (204, 60, 96),
        (244, 112, 64),
        (252, 178, 86),
        (252, 246, 196),
    ],
    np.float32,
)


def coloured(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(H, W) in [0, 1], clipped -> uint8 (H, W, 3); NaN becomes mid-grey."""
    place = np.clip(np.nan_to_num(values, nan=0.0), 0, 1) * 255
    table = np.stack([np.interp(np.arange(256) / 255 * 6, np.arange(7), STOPS[:, c]) for c in range(3)], 1)
    picture = np.rint(table).astype(np.uint8)[np.rint(place).astype(np.uint8)]
    picture[np.isnan(values)] = 128
    return picture
