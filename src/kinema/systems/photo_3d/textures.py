"""Surfaces for layered scenes: textures that repeat, drawn once and kept, and cut-outs.

Two in five textures are drawn, the others pieces of photos. Cut-outs are the Small World's artwork by size, and pieces
of photos in random outlines.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import PIL.Image

from kinema.systems.photo_3d.photos import shipped_photos
from kinema.world import atlas, backgrounds

DRAWN: Final = 64  # textures of each split; pieces of photos follow them
TEXTURES: Final = 160
SIZE: Final = 128
SOFT: Final = 8  # of the drawn, the first of them have no hard edges, for skies
Array = npt.NDArray[Any]  # float32 in what is handed out


@lru_cache(maxsize=512)
def texture(split: str, number: int) -> Array:
    """Texture `number` of a split: float32 (128, 128, 3) in [0, 1], which repeats without a seam."""
    rng = np.random.default_rng([sum(map(ord, split)), number, 21])
    if number >= DRAWN:
        return _mirrored(_photo_piece(split, rng))
    noise = _noise(rng, float(rng.uniform(0.9, 2.0)))
    dark, bright = rng.uniform(0.02, 0.6, 3), rng.uniform(0.35, 1.0, 3)
    kind = 0 if number < SOFT else int(rng.integers(5))
    if kind == 0:
        share = noise
    elif kind == 1:  # stripes, bent a little
        share = 0.5 + 0.5 * np.sin(2 * np.pi * (_ramp(rng) + 0.15 * noise))
        share = share if rng.random() < 0.5 else (share > 0.5) * 0.8 + 0.2 * noise
    elif kind == 2:  # bricks or tiles with joints
        share = _tiles(rng) * (0.6 + 0.4 * noise)
    elif kind == 3:  # blobs: leaves, pebbles
        fine = _noise(rng, 0.6)
        share = np.clip((fine - 0.5) * 6 + 0.5, 0, 1) * 0.7 + 0.3 * noise
    else:  # a piece of a painted background of the Small World, mirrored so that it repeats
        kinds = list(backgrounds.PAINTERS)
        pixels, _ = backgrounds.paint(kinds[number % len(kinds)], 0 if split == "train" else 1, 64)
        piece = pixels[32:96, 16:80].astype(np.float32) / 255
        return _mirrored(piece)
    colours = dark + share[..., None] * (bright - dark)
    grain = rng.standard_normal((SIZE, SIZE, 1)) * rng.uniform(0.0, 0.06)
    return np.clip(colours + grain, 0, 1).astype(np.float32)


def _photo_piece(split: str, rng: np.random.Generator) -> Array:
    """A square of a photo at any scale: (64, 64, 3). The last photo is never seen in training."""
    *known, held_out = shipped_photos()
    photo = known[int(rng.integers(len(known)))] if split == "train" else held_out
    height, width = photo.shape[:2]
    span = int(SIZE / 2 * (min(height, width) * 2 / SIZE) ** rng.uniform())
    top, left = int(rng.integers(height - span + 1)), int(rng.integers(width - span + 1))
    cut = PIL.Image.fromarray(photo[top : top + span, left : left + span])
    small = cut.resize((SIZE // 2, SIZE // 2), PIL.Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


def _mirrored(piece: Array) -> Array:
    """Beside its mirror images, so that it repeats: (64, 64, 3) -> (128, 128, 3)."""
    wide = np.concatenate([piece, piece[:, ::-1]], 1)
    return np.ascontiguousarray(np.concatenate([wide, wide[::-1]], 0))


def _noise(rng: np.random.Generator, slope: float) -> Array:
    """Seamless noise whose amplitude falls with frequency to the power of `slope`: (128, 128), 0 to 1."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]) * SIZE
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) / np.maximum(frequency, 1.0) ** slope
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (SIZE, SIZE))
    low, high = np.percentile(noise, [2, 98])
    return np.clip((noise - low) / (high - low), 0, 1).astype(np.float32)


def _ramp(rng: np.random.Generator) -> Array:
    """Whole periods along a random direction, so that stripes meet at the seam: (128, 128)."""
    across, down = (int(n) for n in rng.integers(-6, 7, 2))
    steps = np.arange(SIZE, dtype=np.float32) / SIZE
    return (across or 3) * steps[None] + down * steps[:, None]


def _tiles(rng: np.random.Generator) -> Array:
    """Tiles of their own brightness between dark joints, every second row shifted or not: (128, 128)."""
    rows, columns = int(rng.choice([4, 8, 16])), int(rng.choice([2, 4, 8]))
    steps = np.arange(SIZE, dtype=np.float32) / SIZE
    row = np.floor(steps * rows).astype(int)
    shift = 0.5 * (row % 2) if rng.random() < 0.6 else np.zeros(SIZE)
    place = steps[None] * columns + shift[:, None]
    column = np.floor(place).astype(int) % columns
    bright = rng.uniform(0.55, 1.0, (rows, columns))[row[:, None], column]
    joint = 0.06 * columns
    gap = ((steps * rows % 1)[:, None] < 0.12) | (place % 1 < joint / 2)
    return np.where(gap, 0.15, bright).astype(np.float32)


@lru_cache(maxsize=4096)
def artwork(index: int, size: int) -> Array:
    """One object, premultiplied: float32 (size, size, 4) in [0, 1]; size divides 64."""
    cell = atlas.sheet()[index].astype(np.float32) / 255
    cell = np.concatenate([cell[..., :3] * cell[..., 3:], cell[..., 3:]], 2)
    times = atlas.CELL // size
    return np.ascontiguousarray(cell.reshape(size, times, size, times, 4).mean((1, 3)))
