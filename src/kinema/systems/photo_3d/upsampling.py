"""Sizes of pictures and disparities: area averages down, as the depth network was trained on, and edges back up."""

# H W rows and columns of the photo, h w of the small map

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor

from kinema.errors import UserError

STRIP: Final = 64  # rows of the photo at once, so that the work stays in the cache


def area_weights(before: int, after: int) -> npt.NDArray[np.float32]:
    """The share of each of `before` pixels in each of `after`, rows that add up to 1: float32 (after, before)."""
    edges = np.arange(after + 1) * (before / after)
    cells = np.arange(before)
    covered = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return (np.clip(covered, 0.0, 1.0) * (after / before)).astype(np.float32)


def area_resize(pixels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Each new pixel is the mean of the area that it covers, rounded: uint8 (H, W, 3) -> (height, width, 3)."""
    rows = area_weights(pixels.shape[0], height)
    columns = area_weights(pixels.shape[1], width)
    flat = np.zeros((height, pixels.shape[1] * 3), np.float32)
    for start in range(0, pixels.shape[0], STRIP):  # so that a large photo is never whole in float
        part = slice(start, start + STRIP)
        some = np.flatnonzero(rows[:, part].any(1))
        reached = slice(some[0], some[-1] + 1)
        flat[reached] += rows[reached, part] @ pixels[part].reshape(-1, flat.shape[1]).astype(np.float32)
    narrow = np.matmul(columns, flat.reshape(height, pixels.shape[1], 3))  # (height, width, 3)
    return np.rint(narrow).clip(0, 255).astype(np.uint8)


def guided_upsample(
    disparity: npt.NDArray[np.float32],
    photo: npt.NDArray[np.uint8],
    sigma_colour: float = 0.06,
    sigma_space: float = 0.7,
    reach: int = 2,
) -> npt.NDArray[np.float32]:
    """Joint bilateral upsampling: a small map takes the edges of the photo. (h, w), (H, W, 3) -> float32 (H, W).

    A pixel is the mean of 2 * reach by 2 * reach cells of the small map around it, weighted by their distance (a
    Gaussian of `sigma_space` cells) and by how like the photo's colour there its own is (Gaussian, `sigma_colour` of
    the range 0 to 1, in root-mean-square of the channels). It never leaves the range of those cells.

    Raises:
        UserError: the map is larger than the photo, or has values that are not finite.
    """
    small_rows, small_columns = disparity.shape
    rows, columns = photo.shape[:2]
    if small_rows > rows or small_columns > columns:
        raise UserError(
            f"the disparity of {small_columns}x{small_rows} is larger than its photo of {columns}x{rows}: make it "
            "smaller first"
        )
    if not np.isfinite(disparity).all():
        raise UserError("the disparity has values that are not finite: fill them before it is made larger")
    shrunk = PIL.Image.fromarray(photo).resize((small_columns, small_rows), PIL.Image.Resampling.BOX)
    # Colours so scaled that their squared distance is the exponent: - |c - g|^2 = 2 c g - |g|^2 - |c|^2.
    sharp = 1.0 / (math.sqrt(6.0) * 255.0 * sigma_colour)
    guide = torch.from_numpy(np.array(shrunk)).permute(2, 0, 1).float() * sharp  # (3, h, w)
    values = torch.from_numpy(np.ascontiguousarray(disparity, np.float32))
    column_cells, column_logs = _cells(columns, small_columns, reach, sigma_space)  # (taps, W)
    row_cells, row_logs = _cells(rows, small_rows, reach, sigma_space)  # (taps, H)
    table = torch.stack([*guide, values, -guide.square().sum(0)])  # (5, h, w)
    wide = table[:, :, column_cells].permute(2, 0, 1, 3).contiguous()  # (taps, 5, h, W)
    wide[:, 4] += column_logs[:, None]
    out = torch.empty(rows, columns)
    starts = [0, *(torch.nonzero(row_cells.diff().any(0)).flatten() + 1).tolist(), rows]
    for start, stop in pairwise(starts):  # rows between the same cells of the small map
        near = wide[:, :, row_cells[:, start], None]  # (taps, 5, taps, 1, W)
        strip = torch.from_numpy(photo[start:stop].astype(np.float32))
        colour = strip.permute(2, 0, 1) * sharp  # (3, R, W)
        exponent = near[:, 4] + (row_logs[:, start:stop, None] - colour.square().sum(0))  # (taps, taps, R, W)
        for channel in range(3):
            exponent.addcmul_(near[:, channel], colour[channel], value=2.0)
        weight = exponent.sub_(exponent.amax((0, 1))).exp_()
        total = weight.sum((0, 1))
        out[start:stop] = weight.mul_(near[:, 3]).sum((0, 1)).div_(total)
    return out.numpy()


def _cells(count: int, small: int, reach: int, sigma: float) -> tuple[Tensor, Tensor]:
    """For each of `count` pixels the 2 * reach nearest of `small` cells, and the logs of their weights: (taps, count).

    Beyond the border the last cell stands again.
    """
    place = (torch.arange(count) + 0.5) * (small / count) - 0.5
    number = place.floor() + torch.arange(1 - reach, reach + 1)[:, None]
    return number.long().clamp(0, small - 1), -((number - place) ** 2) / (2 * sigma**2)
