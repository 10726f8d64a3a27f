"""What vision networks are trained with besides crops: AutoAugment, RandAugment, colour jitter and erasing.

Pictures are (C, H, W) and clips (C, T, H, W), floats in [0, 1]; all frames of a clip are changed alike. Of four
channels the fourth is depth: colours change the first three, and places move in all. Every choice is drawn from the
caller's generator.
"""

# C channels, T frames, H W rows and columns

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from kinema.data.image_ops import (
    autocontrast,
    brightness,
    contrast,
    equalise,
    hue,
    invert,
    posterise,
    rotate,
    saturation,
    sharpness,
    shear,
    solarise,
    solarise_add,
    translate,
)
from kinema.errors import UserError

LEVELS: Final = 10.0  # magnitudes run from 0 to 10
Op = Callable[[Tensor, float], Tensor]
Draw = Callable[[], float]

# A magnitude as a share (0 to 1) and a sign (-1 or 1) to a change, as timm has it where strength grows with magnitude.
_OPS: Final[dict[str, Callable[[Tensor, float, float], Tensor]]] = {
    "identity": lambda x, share, sign: x,
    "autocontrast": lambda x, share, sign: autocontrast(x),
    "equalise": lambda x, share, sign: equalise(x),
    "invert": lambda x, share, sign: invert(x),
    "rotate": lambda x, share, sign: rotate(x, sign * 30 * share),
    "posterise": lambda x, share, sign: posterise(x, 4 - int(share * 4)),
    "solarise": lambda x, share, sign: solarise(x, (256 - int(share * 256)) / 255),
    "solarise add": lambda x, share, sign: solarise_add(x, min(128, int(share * 110)) / 255),
    "colour": lambda x, share, sign: saturation(x, 1 + sign * 0.9 * share),
    "contrast": lambda x, share, sign: contrast(x, 1 + sign * 0.9 * share),
    "brightness": lambda x, share, sign: brightness(x, 1 + sign * 0.9 * share),
    "sharpness": lambda x, share, sign: sharpness(x, 1 + sign * 0.9 * share),
    "shear x": lambda x, share, sign: shear(x, sign * 0.3 * share, 0.0),
    "shear y": lambda x, share, sign: shear(x, 0.0, sign * 0.3 * share),
    "translate x": lambda x, share, sign: translate(x, sign * 0.45 * share, 0.0),
    "translate y": lambda x, share, sign: translate(x, 0.0, sign * 0.45 * share),
}
RAND: Final = tuple(name for name in _OPS if name != "identity")
# What may be done to depth as well as to colours, as Omnivore has it for RGB-D.
RAND_DEPTH: Final = ("identity", "invert", "rotate", "shear x", "shear y", "translate x", "translate y")

# AutoAugment's policy for ImageNet: pairs of (operation, probability, magnitude from 0 to 9).
_Step = tuple[str, float, int]
AUTO: Final[tuple[tuple[_Step, _Step], ...]] = (
    (("posterise", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarise", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalise", 0.8, 0), ("equalise", 0.6, 0)),
    (("posterise", 0.6, 7), ("posterise", 0.6, 6)),
    (("equalise", 0.4, 0), ("solarise", 0.2, 4)),
    (("equalise", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarise", 0.6, 3), ("equalise", 0.6, 0)),
    (("posterise", 0.8, 5), ("equalise", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarise", 0.6, 8)),
    (("equalise", 0.6, 0), ("posterise", 0.4, 6)),
    (("rotate", 0.8, 8), ("colour", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalise", 0.6, 0)),
    (("equalise", 0.0, 0), ("equalise", 0.8, 0)),
    (("invert", 0.6, 0), ("equalise", 1.0, 0)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("colour", 1.0, 2)),
    (("colour", 0.8, 8), ("solarise", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear x", 0.6, 5), ("equalise", 1.0, 0)),
    (("colour", 0.4, 0), ("equalise", 0.6, 0)),
    (("equalise", 0.4, 0), ("solarise", 0.2, 4)),
    (("solarise", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalise", 1.0, 0)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalise", 0.8, 0), ("equalise", 0.6, 0)),
)


def rand_augment(
    x: Tensor,
    generator: torch.Generator,
    ops: int = 2,
    magnitude: float = 9.0,
    spread: float = 0.5,
    names: Sequence[str] = RAND,
    chance: float = 0.5,
) -> Tensor:
    """`ops` random operations, one after the other, each done with this `chance`.

    Args:
        magnitude: of 10; each operation's is drawn around it with the standard deviation `spread`.
        names: of the operations that are drawn from, see `RAND` and `RAND_DEPTH`.

    Raises:
        UserError: the magnitude is not within 0 and 10, or an operation does not exist.
    """
    if not 0 <= magnitude <= LEVELS:
        raise UserError(f"magnitude={magnitude} must be from 0 to {LEVELS:g}")
    unknown = [name for name in names if name not in _OPS]
    if unknown:
        raise UserError(f"there is no operation '{unknown[0]}': choose of {', '.join(_OPS)}")
    draw = _drawn(generator)
    for _ in range(ops):
        name = names[int(draw() * len(names))]
        level = magnitude + spread * float(torch.randn((), generator=generator))
        share, sign = min(max(level, 0.0), LEVELS) / LEVELS, 1.0 if draw() < 0.5 else -1.0
        if draw() < chance:
            x = _OPS[name](x, share, sign).clamp(0, 1)
    return x


def auto_augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """One of the 25 pairs of AutoAugment's policy for ImageNet, its two operations with their own probabilities."""
    draw = _drawn(generator)
    for name, probability, magnitude in AUTO[int(draw() * len(AUTO))]:
        sign = 1.0 if draw() < 0.5 else -1.0
        if draw() >= probability:
            continue
        share = magnitude / 9
        match name:  # magnitudes of this policy run otherwise than RandAugment's for three operations
            case "posterise":
                x = posterise(x, 8 - round(4 * share))
            case "solarise":
                x = solarise(x, 1 - share)
            case _:
                x = _OPS[name](x, share, sign).clamp(0, 1)
    return x


def colour_jitter(
    x: Tensor,
    generator: torch.Generator,
    brightness_by: float = 0.4,
    contrast_by: float = 0.4,
    saturation_by: float = 0.4,
    hue_by: float = 0.0,
) -> Tensor:
    """Change brightness, contrast, saturation and hue in a random order, each by a factor from 1-amount to 1+amount.

    hue_by: a shift, as a share of the circle of colours, at most 0.5.
    """
    draw = _drawn(generator)
    changes: list[tuple[Op, float, float]] = [
        (brightness, 1.0, brightness_by),
        (contrast, 1.0, contrast_by),
        (saturation, 1.0, saturation_by),
        (hue, 0.0, hue_by),
    ]
    for number in torch.randperm(len(changes), generator=generator).tolist():
        change, middle, amount = changes[number]
        if amount:
            x = change(x, max(0.0 if middle else -0.5, middle + amount * (2 * draw() - 1)))
    return x


def random_erasing(
    x: Tensor,
    generator: torch.Generator,
    chance: float = 0.25,
    area: tuple[float, float] = (0.02, 1 / 3),
    ratio: float = 0.3,
) -> Tensor:
    """With this chance a rectangle of normalised pixels becomes Gaussian noise, in all frames the same place.

    Args:
        area: of the rectangle, as shares of the picture's.
        ratio: height over width lies between this and its inverse, log-uniform.
    """
    draw = _drawn(generator)
    if draw() >= chance:
        return x
    height, width = x.shape[-2:]
    for _ in range(10):
        size = height * width * (area[0] + (area[1] - area[0]) * draw())
        shape = math.exp(math.log(ratio) * (1 - 2 * draw()))
        rows, columns = round((size * shape) ** 0.5), round((size / shape) ** 0.5)
        if 0 < rows < height and 0 < columns < width:
            top, left = int(draw() * (height - rows + 1)), int(draw() * (width - columns + 1))
            x = x.clone()
            hole = x[..., top : top + rows, left : left + columns]
            hole.copy_(torch.randn(hole.shape, generator=generator))
            return x
    return x


def _drawn(generator: torch.Generator) -> Draw:
    return lambda: float(torch.rand((), generator=generator, device=generator.device))
