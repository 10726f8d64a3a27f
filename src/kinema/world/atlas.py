"""The artwork: one packed picture of every object, and what is known of each (name, family, material, colour)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

CELL = 64
COLUMNS = 24

# The vocabulary of the nano models: far apart in look and in name, every family but the most abstract ones.
NANO = (
    "fox cat dog rabbit elephant tiger panda lion zebra pig penguin owl parrot hen duck flamingo frog turtle snake "
    "crocodile octopus tropical_fish whale crab butterfly ladybug honeybee sunflower tulip rose mushroom red_apple "
    "banana strawberry watermelon pineapple orange cherries carrot broccoli hamburger pizza doughnut cupcake "
    "ice_cream car bus fire_engine tractor bicycle locomotive rocket helicopter airplane sailboat soccer_ball "
    "basketball guitar drum trumpet crown balloon teddy_bear robot"
).replace("_", "\x00")


@dataclass(frozen=True, kw_only=True)
class Artwork:
    """What the world knows of one object."""

    index: int
    name: str
    family: str
    material: str
    colour: str
    tags: tuple[str, ...]


@lru_cache(maxsize=1)
def _rows() -> tuple[Artwork, ...]:
    text = resources.files("kinema.world").joinpath("assets/atlas.json").read_text(encoding="utf-8")
    return tuple(
        Artwork(
            index=k,
            name=r["name"],
            family=r["family"],
            material=r["material"],
            colour=r["colour"],
            tags=tuple(r["tags"]),
        )
        for k, r in enumerate(json.loads(text))
    )


@lru_cache(maxsize=1)
def artworks() -> tuple[Artwork, ...]:
    """Every object that can act in a scene, in atlas order."""
    return tuple(a for a in _rows() if a.family != "decor")


@lru_cache(maxsize=1)
def decor() -> dict[str, Artwork]:
    """Pictures that only ever stand in backgrounds, by name."""
    return {a.name: a for a in _rows() if a.family == "decor"}


@lru_cache(maxsize=1)
def by_name() -> dict[str, Artwork]:
    """Objects by name."""
    return {a.name: a for a in artworks()}


@lru_cache(maxsize=1)
def nano_vocabulary() -> tuple[int, ...]:
    """Atlas indices of the nano models' objects."""
    names = by_name()
    return tuple(names[n.replace("\x00", " ")].index for n in NANO.split())


@lru_cache(maxsize=1)
def families() -> tuple[str, ...]:
    """Family names in atlas order."""
    return tuple(dict.fromkeys(a.family for a in artworks()))


@lru_cache(maxsize=1)
def sheet() -> np.ndarray:
    """All cells: uint8 (cells, 64, 64, 4), straight alpha."""
    with resources.files("kinema.world").joinpath("assets/atlas.png").open("rb") as file:
        pixels = np.asarray(Image.open(file).convert("RGBA"))
    rows = pixels.shape[0] // CELL
    cells = pixels.reshape(rows, CELL, COLUMNS, CELL, 4).swapaxes(1, 2).reshape(-1, CELL, CELL, 4)
    return np.ascontiguousarray(cells[: len(_rows())])


@lru_cache(maxsize=4)
def sprites(resolution: int) -> torch.Tensor:
    """Premultiplied sprites in [0, 1]: float32 (cells, 4, resolution, resolution), area-averaged when smaller.

    Drawing from a level near the wanted size keeps a shrunk object free of aliasing.
    """
    import torch
    import torch.nn.functional as F

    cells = torch.from_numpy(sheet()).permute(0, 3, 1, 2).float() / 255
    cells = torch.cat([cells[:, :3] * cells[:, 3:], cells[:, 3:]], 1)
    if resolution == CELL:
        return cells
    if resolution < CELL:
        return F.adaptive_avg_pool2d(cells, resolution)
    return F.interpolate(cells, resolution, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
