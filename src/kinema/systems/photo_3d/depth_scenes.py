"""Layered scenes with exact disparity, drawn by the thousand: what the nano depth network learns from.

A scene is a stage (a ground under a sky, a room of planes, or a slanted wall), textured in perspective, and before it
cut-outs of the Small World's artwork, pieces of photos in random outlines and plain shapes, far ones first; light, haze
and noise on top. It is a pure function of (split, index, size). Planes are linear in disparity, so the truth is exact
at every pixel. Needs scikit-image and scikit-learn, whose photos it cuts up.
"""

# H W rows and columns; x runs over [-W/H, W/H], y over [-1, 1] downwards; disparity is above 0 and near is large

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.systems.photo_3d.textures import DRAWN, SOFT, TEXTURES, artwork, texture
from kinema.world import atlas

SPLITS: Final = ("train", "val", "test")
FARTHEST: Final = 0.02  # disparity of a sky; the nearest things have about 1
Array = npt.NDArray[Any]  # float32 in what is handed out


@dataclass
class DepthBatch:
    """Pictures (B, 3, H, W) in [0, 1], disparity (B, 1, H, W) above 0, and where it is known, bool.

    progress: how much of the stage's steps is done, 0 to 1.
    """

    pictures: Tensor
    disparity: Tensor
    valid: Tensor
    progress: float = 0.0


def depth_batch(
    indices: Sequence[int], split: str = "train", height: int = 96, width: int = 128, progress: float = 0.0
) -> DepthBatch:
    """The scenes with these numbers as tensors. Raises UserError for an unknown split or a size below 16."""
    pairs = [scene(split, index, height, width) for index in indices]
    pictures = torch.from_numpy(np.stack([picture for picture, _ in pairs]))  # (B, H, W, 3)
    disparity = torch.from_numpy(np.stack([truth for _, truth in pairs]))[:, None]
    return DepthBatch(
        pictures.permute(0, 3, 1, 2).float() / 255,
        disparity,
        torch.ones_like(disparity, dtype=torch.bool),
        progress,
    )


def scene(split: str, index: int, height: int = 96, width: int = 128) -> tuple[npt.NDArray[np.uint8], Array]:
    """One scene: the picture, uint8 (H, W, 3), and its disparity, float32 (H, W)."""
    if split not in SPLITS:
        raise UserError(f"there is no split '{split}': choose {', '.join(SPLITS)}")
    if min(height, width) < 16:
        raise UserError(f"{height}x{width} is too small for a scene: expected 16 or more on each side")
    rng = np.random.default_rng([SPLITS.index(split), index, 20])
    x, y = _grid(height, width)
    stage = (_open_ground, _room, _wall)[int(rng.choice(3, p=(0.5, 0.3, 0.2)))]
    picture, truth = stage(rng, split, x, y)
    ground = truth[:, width // 2].copy()  # the disparity of the stage along the middle column
    for near in np.sort(rng.uniform(0, 1, int(rng.integers(1, 9)))):
        _stand(rng, split, picture, truth, ground, float(near))
    _light(rng, picture, truth, x, y)
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8), truth


@lru_cache(maxsize=8)
def _grid(height: int, width: int) -> tuple[Array, Array]:
    y = ((np.arange(height, dtype=np.float32) + 0.5) * 2 / height - 1)[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5) * 2 / height - width / height)[None, :]
    return x, y


def _sample(split: str, number: int, u: Array, v: Array) -> Array:
    """A texture at places u, v in repeats: the same shape and 3 channels, nearest cell of the fitting level."""
    cells = texture(split, number)
    size = cells.shape[0]
    rows = (v * size).astype(np.int64) & (size - 1)
    columns = (u * size).astype(np.int64) & (size - 1)
    return cells[rows, columns]


def _plane_texture(
    rng: np.random.Generator, split: str, x: Array, y: Array, disparity: Array, along: tuple[float, float]
) -> Array:
    """A plane of this disparity in a texture that lies on it: (H, W, 3). Far parts fade into their mean.

    along: how much of the texture's two directions runs with x and with y; what is left runs into the depth.
    """
    number, repeats = int(rng.integers(TEXTURES)), float(rng.uniform(0.08, 0.5))
    distance = 1.0 / np.maximum(disparity, FARTHEST / 2)
    across, up = x * distance * along[0], y * distance * along[1]
    u = repeats * (across + (1 - abs(along[0])) * distance) + rng.uniform(0, 64)
    v = repeats * (up + (1 - abs(along[1])) * distance) + rng.uniform(0, 64)
    colours = _sample(split, number, u + 64, v + 64)
    # The texture's cells grow finer than pixels with distance: there only their mean is seen.
    fine = np.clip(repeats * distance * (texture(split, number).shape[0] / (x.shape[1] * 1.5)) - 0.6, 0, 1)
    mean = colours.mean((0, 1))
    return colours + fine[..., None] * (mean - colours)


def _colour(rng: np.random.Generator, low: float = 0.1, high: float = 0.95) -> Array:
    return rng.uniform(low, high, 3).astype(np.float32)


def _open_ground(rng: np.random.Generator, split: str, x: Array, y: Array) -> tuple[Array, Array]:
    """A ground from the horizon to the feet, and a sky or distant wall above it."""
    horizon, tilt = float(rng.uniform(-0.7, 0.35)), float(rng.normal(0, 0.05))
    steep, far = float(rng.uniform(0.35, 1.1)), float(np.exp(rng.uniform(np.log(FARTHEST), np.log(0.2))))
    ground = steep * (y - horizon + tilt * x) / (1 - horizon) + 0 * x
    truth = np.maximum(ground, far).astype(np.float32)
    floor = _plane_texture(rng, split, x, y, truth, (1.0, 0.0))
    if rng.random() < 0.6:  # a sky: a gradient with soft clouds
        top, low = _colour(rng, 0.2, 0.9), _colour(rng, 0.5, 1.0)
        share = np.clip((y + 1) / max(horizon + 1, 0.2), 0, 1)[..., None]
        sky = top + share * (low - top) + np.zeros((*truth.shape, 3), np.float32)
        clouds = _sample(split, int(rng.integers(SOFT)), x * 0.25 + 7 + 0 * y, y * 0.4 + 9 + 0 * x)
        sky += float(rng.uniform(0, 0.35)) * (clouds - clouds.mean())
    else:
        sky = _sample(split, int(rng.integers(TEXTURES)), x * 0.4 + 5 + 0 * y, y * 0.4 + 5 + 0 * x)
    return np.where((ground > far)[..., None], floor, sky).astype(np.float32), truth


def _room(rng: np.random.Generator, split: str, x: Array, y: Array) -> tuple[Array, Array]:
    """Floor, ceiling and walls: the nearest of several planes is the one seen."""
    back = float(rng.uniform(0.12, 0.4))
    turn = float(rng.normal(0, 0.06))
    planes = [
        (back + turn * x + 0 * y, (1.0, 1.0)),
        (float(rng.uniform(0.5, 1.1)) * (y + float(rng.uniform(-0.15, 0.15))) + 0 * x, (1.0, 0.0)),
    ]
    for sign in (-1.0, 1.0):
        if rng.random() < 0.7:
            slope = sign * float(rng.uniform(0.3, 0.8))
            planes.append((slope * (x - sign * float(rng.uniform(-0.1, 0.4))) + 0 * y, (0.0, 1.0)))
    if rng.random() < 0.6:
        planes.append(
            (-float(rng.uniform(0.3, 0.7)) * (y + float(rng.uniform(0.0, 0.3))) + 0 * x, (1.0, 0.0))
        )
    truth = np.max([plane for plane, _ in planes], axis=0).astype(np.float32)
    picture = np.zeros((*truth.shape, 3), np.float32)
    for plane, along in planes:
        here = plane >= truth - 1e-6
        light = float(rng.uniform(0.6, 1.1))
        picture[here] = (light * _plane_texture(rng, split, x, y, np.maximum(plane, 0.05), along))[here]
    return picture, np.maximum(truth, FARTHEST)


def _wall(rng: np.random.Generator, split: str, x: Array, y: Array) -> tuple[Array, Array]:
    """One slanted plane, as a facade or a table top seen from above."""
    middle, aspect = float(rng.uniform(0.2, 0.7)), x.shape[1] / y.shape[0]
    direction, strength = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.0, 0.85))
    slope_x, slope_y = np.cos(direction) / aspect, abs(np.sin(direction))  # what is lower is rather nearer
    reach = abs(slope_x) * aspect + slope_y
    truth = middle * (1 + strength * (slope_x * x + slope_y * y) / max(reach, 1e-3))
    truth = np.maximum(truth, FARTHEST).astype(np.float32)
    return _plane_texture(rng, split, x, y, truth, (1.0, 1.0)).astype(np.float32), truth


def _stand(
    rng: np.random.Generator, split: str, picture: Array, truth: Array, ground: Array, near: float
) -> None:
    """Put one thing into the scene, in place: where nothing nearer is, its disparity and colours."""
    rows, columns = truth.shape
    lowest, highest = float(ground.min()), float(max(ground.max(), 0.3))
    disparity = lowest + (0.08 + 0.97 * near) * (highest - lowest)
    height = rows * float(rng.uniform(0.35, 0.8)) * (0.25 + 0.75 * disparity)  # sizes in the world are alike
    wide = height * float(rng.uniform(0.5, 1.8))
    foot = int(np.searchsorted(np.maximum.accumulate(ground), disparity))
    stands = rng.random() < 0.8 and 0.2 * rows < foot < 1.3 * rows
    bottom = foot if stands else float(rng.uniform(0.3, 1.1)) * rows
    centre = float(rng.uniform(-0.05, 1.05)) * columns
    drawn = rng.random() < 0.45
    if drawn:
        wide = height
    top, left = round(bottom - height), round(centre - wide / 2)
    box_rows = slice(max(top, 0), min(top + max(round(height), 3), rows))
    box_columns = slice(max(left, 0), min(left + max(round(wide), 3), columns))
    if box_rows.start >= box_rows.stop or box_columns.start >= box_columns.stop:
        return
    v = ((np.arange(box_rows.start, box_rows.stop) - top + 0.5) / max(round(height), 3)).astype(np.float32)[
        :, None
    ]
    u = ((np.arange(box_columns.start, box_columns.stop) - left + 0.5) / max(round(wide), 3)).astype(
        np.float32
    )[None]
    if drawn:
        colours, alpha, bulge = _cut_out(rng, split, u, v, height)
    elif rng.random() < 0.4:
        colours, alpha, bulge = _photo_cut_out(rng, split, u, v)
    else:
        colours, alpha, bulge = _shape(rng, split, u, v)
    depth = disparity * (1 + bulge)
    behind = truth[box_rows, box_columns]
    share = np.where(depth >= behind, alpha, 0.0)[..., None]
    if stands:
        _shadow(picture, truth, bottom, centre, wide, disparity)
    box = picture[box_rows, box_columns]
    box += share * (colours - box)
    truth[box_rows, box_columns] = np.where(share[..., 0] >= 0.5, depth, behind)


def _cut_out(
    rng: np.random.Generator, split: str, u: Array, v: Array, height: float
) -> tuple[Array, Array, Array]:
    """An object of the Small World, mirrored and tinted: colours (h, w, 3), alpha and relief (h, w)."""
    numbers = _vocabulary(split)
    cells = artwork(
        int(numbers[rng.integers(len(numbers))]), 64 if height > 40 else 32 if height > 20 else 16
    )
    size = cells.shape[0]
    if rng.random() < 0.5:
        u = 1 - u
    r, c = np.clip(v * size - 0.5, 0, size - 1.001), np.clip(u * size - 0.5, 0, size - 1.001)
    r0, c0 = r.astype(np.int64), c.astype(np.int64)
    fr, fc = (r - r0)[..., None], (c - c0)[..., None]
    above = cells[r0, c0] * (1 - fc) + cells[r0, c0 + 1] * fc
    below = cells[r0 + 1, c0] * (1 - fc) + cells[r0 + 1, c0 + 1] * fc
    found = above * (1 - fr) + below * fr  # premultiplied
    alpha = found[..., 3]
    tint = rng.uniform(0.6, 1.15) * rng.uniform(0.85, 1.15, 3)
    colours = found[..., :3] / np.maximum(alpha, 1e-3)[..., None] * tint
    return colours.astype(np.float32), alpha, np.zeros_like(alpha)


def _photo_cut_out(rng: np.random.Generator, split: str, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """A piece of a photo in a random outline, bulging or flat: colours (h, w, 3), alpha and relief (h, w)."""
    x, y = 2 * u - 1, 2 * v - 1
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    outline = np.full_like(radius, 0.75)
    for wave in range(1, 7):
        outline += 0.2 / wave * float(rng.normal()) * np.sin(wave * angle + float(rng.uniform(0, 2 * np.pi)))
    outline = np.clip(outline, 0.15, 1.0)
    alpha = np.clip((outline - radius) * 8, 0, 1)
    inside = np.clip(1 - (radius / outline) ** 2, 0, 1)
    relief = float(rng.uniform(0, 0.15)) * np.sqrt(inside)
    flat = x * 0 + y * 0
    number, repeats = int(rng.integers(DRAWN, TEXTURES)), float(rng.uniform(0.2, 0.5))
    colours = _sample(split, number, u * repeats + 3 + flat, v * repeats + 3 + flat)
    return colours * float(rng.uniform(0.7, 1.15)), alpha.astype(np.float32), relief.astype(np.float32)


def _shape(rng: np.random.Generator, split: str, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """A box, a ball, a column or a slanted board in a texture: colours (h, w, 3), alpha and relief (h, w)."""
    x, y = 2 * u - 1, 2 * v - 1
    flat = x * 0 + y * 0
    kind = int(rng.integers(4))
    if kind == 0:
        alpha, relief = flat + 1.0, float(rng.normal(0, 0.12)) * x + flat
    elif kind == 1:
        radius = x * x + y * y
        alpha, relief = np.clip((1 - radius) * 8, 0, 1), 0.12 * np.sqrt(np.clip(1 - radius, 0, 1))
    elif kind == 2:
        alpha, relief = flat + 1.0, 0.1 * np.sqrt(np.clip(1 - x * x, 0, 1)) + flat
    else:
        lean = float(rng.uniform(-0.5, 0.5))
        alpha = np.clip((1 - np.abs(x - lean * y) - 0.4) * 8, 0, 1) + flat
        relief = float(rng.normal(0, 0.1)) * y + flat
    repeats = float(rng.uniform(0.2, 1.2))
    colours = _sample(split, int(rng.integers(TEXTURES)), u * repeats + 3 + flat, v * repeats + 3 + flat)
    shade = 1 - 0.25 * (x * float(rng.uniform(-1, 1)) + y * 0.5)[..., None]
    return (colours * shade).astype(np.float32), alpha.astype(np.float32), relief.astype(np.float32)


def _shadow(picture: Array, truth: Array, foot: float, centre: float, wide: float, disparity: float) -> None:
    """Darken the ground around the foot, where it is as far as the thing that stands there."""
    rows, columns = truth.shape
    reach = max(round(0.6 * wide), 2)
    low, high = max(round(foot - 0.15 * wide), 0), min(round(foot + 0.15 * wide) + 1, rows)
    left, right = max(round(centre - reach), 0), min(round(centre + reach) + 1, columns)
    if low >= high or left >= right:
        return
    y = (np.arange(low, high) - foot)[:, None] / (0.15 * wide + 1)
    x = (np.arange(left, right) - centre)[None] / reach
    share = 0.45 * np.clip(1 - x * x - y * y, 0, 1)
    share *= np.abs(truth[low:high, left:right] / disparity - 1) < 0.25
    picture[low:high, left:right] *= (1 - share)[..., None].astype(np.float32)


def _light(rng: np.random.Generator, picture: Array, truth: Array, x: Array, y: Array) -> None:
    """Haze that thickens with distance, uneven light, exposure, colour cast and noise, in place."""
    if rng.random() < 0.5:
        haze = _colour(rng, 0.5, 0.95)
        share = float(rng.uniform(0.1, 0.7)) * np.exp(-truth / float(rng.uniform(0.05, 0.25)))
        picture += share[..., None] * (haze - picture)
    slope = rng.normal(0, 0.12, 2)
    picture *= (1 + slope[0] * x + slope[1] * y).astype(np.float32)[..., None]
    picture *= (float(rng.uniform(0.7, 1.2)) * rng.uniform(0.92, 1.08, 3)).astype(np.float32)
    picture += rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(0.0, 0.025))


@lru_cache(maxsize=4)
def _vocabulary(split: str) -> npt.NDArray[np.int64]:
    """Objects of a split: training never sees those of the others."""
    numbers = np.array([a.index for a in atlas.artworks()])
    held_out = numbers % 8 == 3
    return numbers[~held_out] if split == "train" else numbers[held_out]
