"""The letters of the Small World's signs: a font of strokes, drawn for small sizes, antialiased at any.

A letter is strokes on a grid of half units, x from 0 to 8, y from 0 (top) to 12: two hexadecimal digits a point, and
`~` before a control point of a quadratic curve, as in outline fonts (two in a row meet in their middle). With the pen's
width a letter is 5 units wide and 7 high, and the next one begins 6 units on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from kinema.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

GLYPHS: Final[dict[str, tuple[str, ...]]] = {
    "A": ("0C 40 8C", "28 68"),
    "B": ("46 06 00 40 ~70 73 ~76 46", "06 46 ~86 89 ~8C 4C 0C 06"),
    "C": ("82 ~80 40 ~00 04 08 ~0C 4C ~8C 8A",),
    "D": ("00 30 ~80 85 87 ~8C 3C 0C 00",),
    "E": ("80 00 0C 8C", "06 66"),
    "F": ("80 00 0C", "06 66"),
    "G": ("82 ~80 40 ~00 04 08 ~0C 4C ~8C 88 87 57",),
    "H": ("00 0C", "80 8C", "06 86"),
    "I": ("40 4C", "20 60", "2C 6C"),
    "J": ("80 88 ~8C 4C ~0C 08",),
    "K": ("00 0C", "80 07", "35 8C"),
    "L": ("00 0C 8C",),
    "M": ("0C 00 47 80 8C",),
    "N": ("0C 00 8C 80",),
    "O": ("40 ~80 84 88 ~8C 4C ~0C 08 04 ~00 40",),
    "P": ("0C 00 40 ~80 83 84 ~87 47 07",),
    "Q": ("40 ~80 84 88 ~8C 4C ~0C 08 04 ~00 40", "58 8D"),
    "R": ("0C 00 40 ~80 83 84 ~87 47 07", "47 8C"),
    "S": ("82 ~80 40 ~00 03 ~06 46 ~86 89 ~8C 4C ~0C 0A",),
    "T": ("00 80", "40 4C"),
    "U": ("00 08 ~0C 4C ~8C 88 80",),
    "V": ("00 4C 80",),
    "W": ("00 2C 45 6C 80",),
    "X": ("00 8C", "80 0C"),
    "Y": ("00 46 80", "46 4C"),
    "Z": ("00 80 0C 8C",),
    "0": ("40 ~70 74 78 ~7C 4C ~1C 18 14 ~10 40", "29 63"),
    "1": ("13 40 4C", "1C 7C"),
    "2": ("03 ~00 40 ~80 83 ~86 0C 8C",),
    "3": ("02 ~00 40 ~80 83 ~86 46 ~86 89 ~8C 4C ~0C 0A",),
    "4": ("6C 60 08 88",),
    "5": ("80 00 05 45 ~85 88 89 ~8C 4C ~0C 0A",),
    "6": ("71 ~70 40 ~00 06 08 ~0C 4C ~8C 88 ~85 45 ~05 08",),
    "7": ("00 80 3C",),
    "8": ("46 ~16 13 ~10 40 ~70 73 ~76 46 ~86 89 ~8C 4C ~0C 09 ~06 46",),
    "9": ("1B ~1C 4C ~8C 86 84 ~80 40 ~00 04 ~07 47 ~87 84",),
}
ALPHABET: Final = "".join(GLYPHS)
WIDE, HIGH, ADVANCE = 5, 7, 6  # units: a letter with its pen, and from one letter to the next
PEN = 1.15  # units
REACH = 2.0  # units around the strokes within which a field knows their distance
FINENESS = 8  # samples of a field to a unit


def word_units(count: int) -> int:
    """The width of a word of so many letters."""
    return ADVANCE * count - (ADVANCE - WIDE)


def check_word(word: str, longest: int = 8) -> str:
    """The word, if the font can write it. Raises UserError."""
    if not 1 <= len(word) <= longest or any(letter not in GLYPHS for letter in word):
        raise UserError(
            f"a sign cannot say {word!r}: expected 1 to {longest} of the letters A to Z and 0 to 9"
        )
    return word


def _polyline(stroke: str, steps: int = 8) -> np.ndarray:
    """A stroke as points in units: (n, 2) x, y."""
    tokens = [(t[0] == "~", np.array([int(t[-2], 16), int(t[-1], 16)], float) / 2) for t in stroke.split()]
    points = [tokens[0][1]]
    for k, (curved, place) in enumerate(tokens[1:], 1):
        if not curved:
            if not tokens[k - 1][0]:
                points.append(place)
            continue
        control, end = tokens[k + 1]
        target = (place + end) / 2 if control else end
        begin = points[-1]
        for s in np.linspace(0, 1, steps + 1)[1:]:
            points.append((1 - s) ** 2 * begin + 2 * s * (1 - s) * place + s * s * target)
    return np.stack(points)


@lru_cache(maxsize=len(GLYPHS))
def _distance(letter: str) -> np.ndarray:
    """Units to the nearest stroke, at the samples of a cell that reaches REACH beyond them: (80, 64)."""
    columns = (np.arange((4 + 2 * REACH) * FINENESS) + 0.5) / FINENESS - REACH
    rows = (np.arange((6 + 2 * REACH) * FINENESS) + 0.5) / FINENESS - REACH
    place = np.stack(np.meshgrid(columns, rows), -1)[..., None, :]  # (rows, columns, 1, 2)
    best = np.full(place.shape[:2], np.inf)
    for stroke in GLYPHS[letter]:
        points = _polyline(stroke)
        begin, along = points[:-1], np.diff(points, axis=0)
        share = ((place - begin) * along).sum(-1) / (along**2).sum(-1)
        nearest = begin + share.clip(0, 1)[..., None] * along
        best = np.minimum(best, np.sqrt(((place - nearest) ** 2).sum(-1)).min(-1))
    return best


@lru_cache(maxsize=512)
def word_field(word: str) -> Tensor:
    """How near the strokes of a word are, 1 on them and 0 from REACH away: float32 (80, 8 * (6 n + 2)).

    The samples reach REACH units beyond the strokes on every side; sampled with zeros outside, the field is whole.
    """
    import torch

    check_word(word)
    field = np.zeros((round((6 + 2 * REACH) * FINENESS), (ADVANCE * len(word) + 2) * FINENESS))
    for k, letter in enumerate(word):
        near = (1 - _distance(letter) / REACH).clip(0)
        place = field[:, k * ADVANCE * FINENESS :][:, : near.shape[1]]
        np.maximum(place, near, out=place)
    return torch.from_numpy(field).float()


def line_cover(distance: Tensor, half: Tensor | float) -> Tensor:
    """The share of a pixel that a line covers, its middle line `distance` and its rim `half` pixels away."""
    return (distance + half).clamp(-0.5, 0.5) - (distance - half).clamp(-0.5, 0.5)


def letter_cover(word: str, x: Tensor, y: Tensor, scale: Tensor | float) -> Tensor:
    """The share of each pixel that the word's strokes cover.

    Args:
        word: what is written.
        x, y: places from the word's middle, in units, (T, H, W) both.
        scale: pixels to a unit, a number or (T, 1, 1).

    Returns:
        (T, H, W) in [0, 1].
    """
    import torch
    import torch.nn.functional as F

    field = word_field(word)
    where = torch.stack([x * (2 / (ADVANCE * len(word) + 2)), y * (2 / (6 + 2 * REACH))], -1)
    near = F.grid_sample(
        field.expand(len(x), 1, -1, -1), where, mode="bilinear", padding_mode="zeros", align_corners=False
    )[:, 0]
    return line_cover((1 - near) * (REACH * scale), 0.5 * PEN * scale)


def draw_word(word: str, height: int) -> Tensor:
    """A word alone, its letters `height` pixels high: ink in [0, 1], (height + 2, width)."""
    import torch

    check_word(word)
    scale = height / HIGH
    rows, columns = height + 2, round(word_units(len(word)) * scale) + 2
    y = ((torch.arange(rows) + 0.5 - rows / 2) / scale)[None, :, None].expand(1, -1, columns)
    x = ((torch.arange(columns) + 0.5 - columns / 2) / scale)[None, None].expand(1, rows, -1)
    return letter_cover(word, x, y, scale)[0]
