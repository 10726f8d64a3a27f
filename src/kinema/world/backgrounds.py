"""Backgrounds: each kind in several variants, drawn once per resolution and then only sampled.

A background is a canvas wider and higher than any frame (x in [-2, 2], y in [-1, 1] frame heights), so that a pan,
tilt or zoom always finds texture. It is a pure function of (kind, variant, resolution).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image

from kinema.world import atlas

WIDTH, HEIGHT = 4.0, 2.0  # of the canvas, in frame heights
Colour = tuple[int, int, int]


@dataclass
class Canvas:
    """A picture under construction: float32 (rows, columns, 3) in 0..255, `unit` pixels to a frame height."""

    unit: int
    rng: random.Random
    pixels: np.ndarray = field(init=False)
    horizon: float = 1.0  # y below which the ground lies; 1 means there is none

    def __post_init__(self) -> None:
        rows, columns = int(HEIGHT * self.unit), int(WIDTH * self.unit)
        self.pixels = np.zeros((rows, columns, 3), np.float32)
        self.y = ((np.arange(rows, dtype=np.float32) + 0.5) / self.unit - 1.0)[:, None]
        self.x = ((np.arange(columns, dtype=np.float32) + 0.5) / self.unit - 2.0)[None, :]

    def tinted(self, colour: Colour, amount: int = 14) -> np.ndarray:
        """The colour with a little of the variant's own hue in it."""
        return np.array([min(255, max(0, c + self.rng.randint(-amount, amount))) for c in colour], np.float32)

    def gradient(self, stops: Sequence[tuple[float, Colour]]) -> None:
        """Fill from top to bottom through colours at heights y."""
        ys, colours = [s[0] for s in stops], np.array([self.tinted(s[1], 9) for s in stops])
        rows = np.stack([np.interp(self.y[:, 0], ys, colours[:, c]) for c in range(3)], -1)
        self.pixels[:] = rows[:, None, :]

    def blend(self, mask: np.ndarray, colour: np.ndarray) -> None:
        """Lay a colour over the picture where mask (rows, columns) in [0, 1] says."""
        self.pixels += mask[..., None] * (colour - self.pixels)

    def wave(self, octaves: int = 3, base: float = 0.7) -> np.ndarray:
        """A smooth random curve over x in about [-1, 1]: (1, columns)."""
        total = np.zeros_like(self.x)
        for k in range(octaves):
            pitch = base * 2.1**k
            total += np.sin(2 * math.pi * (self.x * pitch + self.rng.random())) / 1.7**k
        return total / 1.8

    def hills(
        self,
        y: float,
        height: float,
        colour: Colour,
        *,
        base: float = 0.5,
        shade: float = 0.25,
        octaves: int = 3,
    ) -> np.ndarray:
        """Ground from a wavy line down, darker towards the bottom; returns the line's heights (columns,)."""
        line = y + height * self.wave(octaves, base)
        mask = np.clip((self.y - line) * self.unit + 0.5, 0, 1)
        depth = np.clip((self.y - line) / 0.9, 0, 1)
        shaded = self.tinted(colour)[None, None] * (1 - shade * depth[..., None])
        self.pixels += mask[..., None] * (shaded - self.pixels)
        return line[0]

    def dots(
        self, count: int, y: tuple[float, float], radius: tuple[float, float], colours: Sequence[Colour]
    ) -> None:
        """Scatter soft round dots."""
        for _ in range(count):
            cx, cy = self.rng.uniform(-2, 2), self.rng.uniform(*y)
            r = max(self.rng.uniform(*radius), 0.45 / self.unit)
            self.ellipse(cx, cy, r, r, self.rng.choice(colours))

    def ellipse(
        self, cx: float, cy: float, rx: float, ry: float, colour: Colour, opacity: float = 1.0
    ) -> None:
        """One antialiased ellipse, drawn in its own box only."""
        pad = 2 / self.unit
        rows = slice(*self._range(cy - ry - pad, cy + ry + pad, 1.0, self.pixels.shape[0]))
        cols = slice(*self._range(cx - rx - pad, cx + rx + pad, 2.0, self.pixels.shape[1]))
        dist = np.sqrt(((self.x[:, cols] - cx) / rx) ** 2 + ((self.y[rows] - cy) / ry) ** 2)
        mask = np.clip((1 - dist) * min(rx, ry) * self.unit + 0.5, 0, 1) * opacity
        box = self.pixels[rows, cols]
        box += mask[..., None] * (np.array(colour, np.float32) - box)

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour | np.ndarray) -> None:
        """One filled rectangle."""
        rows = slice(*self._range(y0, y1, 1.0, self.pixels.shape[0]))
        cols = slice(*self._range(x0, x1, 2.0, self.pixels.shape[1]))
        self.pixels[rows, cols] = np.asarray(colour, np.float32)

    def _range(self, low: float, high: float, origin: float, limit: int) -> tuple[int, int]:
        a, b = round((low + origin) * self.unit), round((high + origin) * self.unit)
        return min(max(a, 0), limit), min(max(b, 0), limit)

    def paste(self, name: str, cx: float, base: float, size: float, *, light: float = 1.0) -> None:
        """Stand a picture on the line y=base, `size` high."""
        pixels = max(2, round(size * self.unit))
        cell = Image.fromarray(atlas.sheet()[atlas.decor()[name].index]).resize(
            (pixels, pixels), Image.Resampling.BOX
        )
        if self.rng.random() < 0.5:
            cell = cell.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        arr = np.asarray(cell).astype(np.float32)
        left, top = round((cx + 2) * self.unit - pixels / 2), round((base + 1) * self.unit - pixels)
        y0, x0 = max(top, 0), max(left, 0)
        y1, x1 = min(top + pixels, self.pixels.shape[0]), min(left + pixels, self.pixels.shape[1])
        if y1 <= y0 or x1 <= x0:
            return
        part = arr[y0 - top : y1 - top, x0 - left : x1 - left]
        box = self.pixels[y0:y1, x0:x1]
        box += part[..., 3:] / 255 * (part[..., :3] * light - box)

    def row(
        self,
        names: Sequence[str],
        spacing: float,
        base: tuple[float, float],
        size: tuple[float, float],
        light: float = 1.0,
    ) -> None:
        """A row of pictures along x with uneven gaps, the far ones first."""
        x, items = -2.1 + spacing * self.rng.random(), []
        while x < 2.1:
            items.append((self.rng.uniform(*base), x, self.rng.choice(names), self.rng.uniform(*size)))
            x += spacing * self.rng.uniform(0.6, 1.4)
        for y, x, name, height in sorted(items):
            self.paste(name, x, y, height, light=light)


def _clouds(c: Canvas, count: int = 7, light: float = 1.0) -> None:
    for _ in range(count):
        c.paste(
            "cloud", c.rng.uniform(-2, 2), c.rng.uniform(-0.75, -0.12), c.rng.uniform(0.22, 0.42), light=light
        )


def meadow(c: Canvas) -> None:
    """Hills, trees and flowers under a day's clouds."""
    c.gradient([(-1, (92, 172, 240)), (0.1, (196, 230, 250))])
    c.horizon = 0.12
    _clouds(c)
    c.hills(0.04, 0.05, (126, 190, 110), base=0.4)
    c.row(("deciduous tree", "evergreen tree"), 0.55, (0.1, 0.14), (0.16, 0.26))
    c.hills(0.13, 0.02, (104, 184, 72), base=0.6, shade=0.35)
    c.dots(
        150, (0.2, 0.98), (0.008, 0.016), ((250, 236, 120), (255, 255, 255), (240, 150, 190), (70, 140, 50))
    )


def night_sky(c: Canvas) -> None:
    """Stars and a moon over dark hills."""
    c.gradient([(-1, (10, 12, 48)), (0.2, (38, 40, 110)), (0.6, (58, 50, 120))])
    c.horizon = 0.3
    c.dots(170, (-1, 0.3), (0.005, 0.012), ((255, 255, 255), (255, 240, 190), (190, 210, 255)))
    for _ in range(9):
        c.paste("star", c.rng.uniform(-2, 2), c.rng.uniform(-0.8, 0.1), c.rng.uniform(0.05, 0.09))
    c.paste(c.rng.choice(("crescent moon", "full moon")), c.rng.uniform(-0.8, 0.8), -0.1, 0.2)
    c.hills(0.34, 0.06, (26, 30, 70), base=0.7, shade=0.5)
    c.row(("evergreen tree",), 0.6, (0.38, 0.5), (0.14, 0.22), light=0.28)


def beach(c: Canvas) -> None:
    """Sea on the horizon, sand with palms and parasols."""
    c.gradient([(-1, (88, 190, 245)), (0, (200, 238, 252))])
    c.horizon = 0.02
    _clouds(c, 6)
    sea = c.tinted((40, 130, 200))
    c.blend(np.broadcast_to(np.clip((c.y - 0.02) * c.unit, 0, 1), c.pixels.shape[:2]).copy(), sea)
    for _ in range(70):
        y = c.rng.uniform(0.04, 0.2)
        c.ellipse(c.rng.uniform(-2, 2), y, c.rng.uniform(0.04, 0.1), 0.008, (180, 225, 245), 0.8)
    c.hills(0.22, 0.02, (240, 214, 150), base=0.5, shade=0.15)
    c.row(("palm tree",), 1.1, (0.26, 0.34), (0.42, 0.6))
    c.row(("beach umbrella",), 1.5, (0.36, 0.44), (0.16, 0.2))
    c.dots(90, (0.28, 0.98), (0.006, 0.013), ((214, 180, 116), (255, 240, 205)))


def snow(c: Canvas) -> None:
    """Mountains and firs while snow falls."""
    c.gradient([(-1, (150, 186, 222)), (0.15, (226, 236, 246))])
    c.horizon = 0.14
    c.row(("snow-capped mountain", "mountain"), 0.9, (0.16, 0.2), (0.5, 0.75))
    c.hills(0.13, 0.04, (238, 244, 252), base=0.45, shade=0.12)
    c.row(("evergreen tree",), 0.42, (0.18, 0.3), (0.18, 0.3), light=0.85)
    c.dots(60, (0.3, 0.98), (0.02, 0.05), ((222, 232, 246), (250, 252, 255)))
    c.dots(170, (-1, 0.98), (0.007, 0.014), ((255, 255, 255),))


def desert(c: Canvas) -> None:
    """Dunes, cactuses and rocks under the sun."""
    c.gradient([(-1, (70, 160, 226)), (0.1, (250, 226, 176))])
    c.horizon = 0.1
    c.paste("sun", c.rng.uniform(-1, 1), -0.18, 0.24)
    c.hills(0.06, 0.07, (214, 150, 86), base=0.5)
    c.hills(0.17, 0.04, (236, 184, 104), base=0.8, shade=0.2)
    c.row(("cactus",), 0.6, (0.18, 0.36), (0.16, 0.32))
    c.row(("rock",), 0.8, (0.26, 0.42), (0.06, 0.12))
    c.dots(110, (0.26, 0.98), (0.008, 0.02), ((206, 148, 76), (250, 210, 140)))


def city(c: Canvas) -> None:
    """Houses with lit windows along a road."""
    c.gradient([(-1, (126, 176, 220)), (0.2, (222, 228, 232))])
    c.horizon = 0.24
    _clouds(c, 4)
    x = -2.1
    while x < 2.1:
        width, top = c.rng.uniform(0.16, 0.3), c.rng.uniform(-0.5, -0.08)
        wall = c.tinted(c.rng.choice(((150, 156, 172), (186, 150, 132), (128, 146, 160), (196, 184, 160))), 8)
        c.rect(x, top, x + width, 0.25, wall)
        lit = c.rng.choice(((250, 232, 150), (206, 230, 246)))
        for wy in np.arange(top + 0.04, 0.2, 0.085):
            for wx in np.arange(x + 0.03, x + width - 0.035, 0.075):
                c.rect(float(wx), float(wy), float(wx) + 0.038, float(wy) + 0.045, lit)
        x += width + c.rng.uniform(0.0, 0.05)
    c.row(("office building", "house"), 1.2, (0.27, 0.28), (0.24, 0.3))
    c.rect(-2, 0.25, 2, 1, (176, 172, 166))
    c.rect(-2, 0.33, 2, 1, c.tinted((92, 96, 104), 8))
    for k in range(-9, 10):
        c.rect(k * 0.24, 0.52, k * 0.24 + 0.12, 0.545, (244, 240, 220))


def forest(c: Canvas) -> None:
    """Trees in three rows, ferns at their feet."""
    c.gradient([(-1, (60, 110, 84)), (0.2, (168, 200, 140))])
    c.horizon = 0.2
    c.row(("evergreen tree", "deciduous tree"), 0.2, (0.16, 0.22), (0.5, 0.8), light=0.55)
    c.hills(0.2, 0.03, (78, 112, 52), base=0.6, shade=0.4)
    c.row(("evergreen tree", "deciduous tree"), 0.42, (0.24, 0.32), (0.6, 0.9), light=0.85)
    c.row(("fern", "seedling"), 0.3, (0.34, 0.6), (0.07, 0.12), light=0.8)
    c.dots(100, (0.3, 0.98), (0.01, 0.022), ((60, 90, 40), (110, 136, 60), (150, 110, 60)))


def room(c: Canvas) -> None:
    """A papered wall with windows and pictures, a floor of boards."""
    wall = c.tinted(c.rng.choice(((236, 214, 190), (206, 220, 226), (226, 206, 220), (214, 222, 196))))
    c.pixels[:] = wall
    c.horizon = 0.26
    for k in np.arange(-2, 2, 0.16):
        c.rect(float(k), -1, float(k) + 0.07, 0.26, wall * 0.94)
    for x in np.arange(-1.9, 2, 0.95):
        kind = c.rng.choice(("window", "painting", "wall clock"))
        c.paste(
            kind,
            float(x) + c.rng.uniform(-0.1, 0.1),
            c.rng.uniform(-0.1, 0.0),
            0.34 if kind == "window" else 0.2,
        )
    floor = c.tinted((176, 122, 78))
    c.rect(-2, 0.26, 2, 1, floor)
    for k, y in enumerate(np.arange(0.33, 1.0, 0.09)):
        c.rect(-2, float(y), 2, float(y) + 0.012, floor * 0.8)
        for x in np.arange(-2 + 0.2 * (k % 2), 2, 0.4):
            c.rect(float(x), float(y) - 0.08, float(x) + 0.012, float(y), floor * 0.8)
    c.rect(-2, 0.24, 2, 0.275, (250, 246, 240))


def sunset(c: Canvas) -> None:
    """A low sun behind dark hills."""
    c.gradient(
        [(-1, (84, 54, 130)), (-0.35, (220, 96, 120)), (0.02, (255, 176, 96)), (0.14, (255, 214, 140))]
    )
    c.horizon = 0.14
    c.ellipse(c.rng.uniform(-0.6, 0.6), 0.06, 0.16, 0.16, (255, 240, 190))
    _clouds(c, 8, light=0.82)
    for _ in range(26):
        c.ellipse(
            c.rng.uniform(-2, 2),
            c.rng.uniform(-0.9, 0.0),
            c.rng.uniform(0.15, 0.3),
            0.012,
            (255, 190, 150),
            0.6,
        )
    c.hills(0.1, 0.06, (120, 62, 98), base=0.6)
    c.hills(0.2, 0.03, (72, 40, 74), base=0.9, shade=0.4)
    c.row(("leafless tree", "palm tree"), 0.8, (0.22, 0.3), (0.24, 0.4), light=0.3)
    c.dots(80, (0.28, 0.98), (0.01, 0.02), ((110, 64, 96), (150, 88, 100)))


def underwater(c: Canvas) -> None:
    """Beams of light, corals and bubbles."""
    c.gradient([(-1, (94, 206, 226)), (0.0, (28, 128, 190)), (0.6, (14, 70, 140))])
    c.horizon = 0.3
    for _ in range(9):
        x, lean = c.rng.uniform(-2, 2), c.rng.uniform(0.1, 0.3)
        beam = np.clip(1 - np.abs(c.x - x - lean * (c.y + 1)) / 0.09, 0, 1) * np.clip(
            0.45 - c.y * 0.5, 0, 0.3
        )
        c.blend(beam, np.array((220, 250, 255), np.float32))
    c.hills(0.32, 0.04, (206, 186, 130), base=0.6, shade=0.4)
    c.row(("coral",), 0.42, (0.36, 0.5), (0.16, 0.28), light=0.92)
    c.row(("rock", "fern"), 0.5, (0.36, 0.54), (0.1, 0.16), light=0.75)
    for _ in range(70):
        x, y, r = c.rng.uniform(-2, 2), c.rng.uniform(-1, 0.4), c.rng.uniform(0.01, 0.03)
        c.ellipse(x, y, r, r, (190, 236, 250), 0.7)
        c.ellipse(x - r * 0.3, y - r * 0.3, r * 0.4, r * 0.4, (255, 255, 255))


PAINTERS: dict[str, Callable[[Canvas], None]] = {
    "meadow": meadow,
    "night sky": night_sky,
    "beach": beach,
    "snow": snow,
    "desert": desert,
    "city": city,
    "forest": forest,
    "room": room,
    "sunset": sunset,
    "underwater": underwater,
}


@lru_cache(maxsize=512)
def paint(kind: str, variant: int, unit: int) -> tuple[np.ndarray, float]:
    """Draw a background: (uint8 (2*unit, 4*unit, 3), y of the horizon)."""
    over = 2 if unit <= 128 else 1  # drawn larger and averaged down where that is cheap
    canvas = Canvas(unit=unit * over, rng=random.Random(f"background:{kind}:{variant}"))
    PAINTERS[kind](canvas)
    pixels = canvas.pixels.clip(0, 255)
    if over > 1:
        rows, columns = pixels.shape[0] // over, pixels.shape[1] // over
        pixels = pixels.reshape(rows, over, columns, over, 3).mean((1, 3))
    return (pixels + 0.5).astype(np.uint8), canvas.horizon
