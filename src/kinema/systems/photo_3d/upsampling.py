"""Sizes of pictures and disparities: area averages down, as the depth network was trained on, and edges back up."""

# H W rows and columns of the photo, h w of the small map

from __future__ import annotations

import math
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
    values = torch.from_numpy(np.ascontiguousarray(disparity, np.float32))
    shrunk = PIL.Image.fromarray(photo).resize((small_columns, small_rows), PIL.Image.Resampling.BOX)
    guide = torch.from_numpy(np.array(shrunk)).float().permute(2, 0, 1)
    full = torch.from_numpy(np.ascontiguousarray(photo))
    out = torch.empty(rows, columns)
    row_cells, row_weights = _cells(rows, small_rows, reach, sigma_space)
    column_cells, column_weights = _cells(columns, small_columns, reach, sigma_space)
    # The colours' distance to the power of e, in one multiplication: over three channels of 0 to 255.
    sharp = math.sqrt(1.0 / (6.0 * (255.0 * sigma_colour) ** 2))
    guide = guide * sharp
    # Columns are picked once, for all rows of the small map: (taps, 4, h, W)
    table = torch.cat([guide, values[None]])  # (4, h, w)
    wide = [table[:, :, cells] for cells in column_cells]
    for start in range(0, rows, STRIP):
        part = slice(start, min(start + STRIP, rows))
        colour = full[part].permute(2, 0, 1).float() * sharp  # (3, strip, W)
        total = torch.zeros(colour.shape[1:])
        weights = torch.full_like(total, 1e-30)
        for cells, near in zip(row_cells, row_weights, strict=True):
            for taken, beside in zip(wide, column_weights, strict=True):
                tap = taken.index_select(1, cells[part])  # (4, strip, W)
                weight = tap[:3].sub(colour).square_().sum(0).clamp_(max=40.0).neg_().exp_()
                weight.mul_(near[part, None]).mul_(beside)
                weights.add_(weight)
                total.addcmul_(weight, tap[3])
        out[part] = total.div_(weights)
    return out.numpy()


def _cells(count: int, small: int, reach: int, sigma: float) -> tuple[list[Tensor], list[Tensor]]:
    """For each of `count` pixels: numbers of the 2 * reach nearest of `small` cells, and their weights."""
    place = (torch.arange(count) + 0.5) * (small / count) - 0.5
    below = place.floor()
    numbers = [below + offset for offset in range(1 - reach, reach + 1)]
    weights = [torch.exp(-((number - place) ** 2) / (2 * sigma**2)) for number in numbers]
    return [number.long().clamp(0, small - 1) for number in numbers], weights
