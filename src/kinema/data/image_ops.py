"""Changes of pictures that augmentation is made of: each a function of pixels and one number, without chance.

Floats in [0, 1], (C, H, W) or (C, T, H, W). Of a fourth channel, depth, colours leave it alone and moves take it along.
"""

# C channels, T frames, H W rows and columns

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

GREY: Final = (0.2989, 0.587, 0.114)  # shares of red, green and blue in brightness
FILL: Final = 0.5  # what comes in from outside a picture that was moved


def _colours(change: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
    """Apply to the first three channels alone."""

    def done(x: Tensor, amount: float) -> Tensor:
        if len(x) == 3:
            return change(x, amount)
        return torch.cat([change(x[:3], amount), x[3:]])

    done.__doc__ = change.__doc__
    return done


def grey(x: Tensor) -> Tensor:
    """The brightness of colours (3, ...): (1, ...)."""
    shares = torch.tensor(GREY, dtype=x.dtype).view(3, *[1] * (x.ndim - 1))
    return (x * shares).sum(0, keepdim=True)


def _blend(x: Tensor, other: Tensor, factor: float) -> Tensor:
    return (factor * x + (1 - factor) * other).clamp(0, 1)


@_colours
def brightness(x: Tensor, factor: float) -> Tensor:
    """Times `factor`: 0 is black, 1 as it was."""
    return (x * factor).clamp(0, 1)


@_colours
def contrast(x: Tensor, factor: float) -> Tensor:
    """Away from the mean brightness, or with a factor below 1 towards it."""
    return _blend(x, grey(x).mean(), factor)


@_colours
def saturation(x: Tensor, factor: float) -> Tensor:
    """Away from grey, or with a factor below 1 towards it."""
    return _blend(x, grey(x), factor)


@_colours
def hue(x: Tensor, shift: float) -> Tensor:
    """Turn the circle of colours by a share from -0.5 to 0.5."""
    top, low = x.amax(0), x.amin(0)
    span = top - low
    safe = torch.where(span > 0, span, 1.0)
    red, green, blue = ((top - channel) / safe for channel in x)
    angle = torch.where(top == x[0], blue - green, torch.where(top == x[1], 2 + red - blue, 4 + green - red))
    angle = (angle / 6 + shift) % 1.0
    whiteness = torch.where(top > 0, low / torch.where(top > 0, top, 1.0), 1.0)
    place = angle * 6
    part = place - place.floor()
    strong = top * whiteness
    falling, rising = top * (1 - (1 - whiteness) * part), top * (1 - (1 - whiteness) * (1 - part))
    sector = place.floor().long() % 6
    table = (
        (top, rising, strong),
        (falling, top, strong),
        (strong, top, rising),
        (strong, falling, top),
        (rising, strong, top),
        (top, strong, falling),
    )
    out = torch.zeros_like(x)
    for number, channels in enumerate(table):
        out = torch.where(sector == number, torch.stack(channels), out)
    return torch.where(span > 0, out, x)


@_colours
def sharpness(x: Tensor, factor: float) -> Tensor:
    """Away from a smoothed picture, or with a factor below 1 towards it; the rim stays."""
    kernel = torch.ones(3, 3, dtype=x.dtype)
    kernel[1, 1] = 5
    frames = x if x.ndim == 3 else x.transpose(0, 1)
    stacked = frames.reshape(-1, 1, *x.shape[-2:])
    smooth = stacked.clone()
    if min(x.shape[-2:]) > 2:
        smooth[..., 1:-1, 1:-1] = F.conv2d(stacked, (kernel / kernel.sum()).view(1, 1, 3, 3))
    smooth = smooth.view(frames.shape)
    return _blend(x, smooth if x.ndim == 3 else smooth.transpose(0, 1), factor)


def autocontrast(x: Tensor) -> Tensor:
    """Each channel of each frame is stretched to 0 and 1; a channel of one value stays."""
    return _stretched(x, 0.0)


@_colours
def _stretched(x: Tensor, _: float) -> Tensor:
    low, top = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
    span = top - low
    return torch.where(span > 0, (x - low) / torch.where(span > 0, span, 1.0), x)


def equalise(x: Tensor) -> Tensor:
    """Each channel of each frame gets an even histogram, in 256 steps."""
    return _evened(x, 0.0)


@_colours
def _evened(x: Tensor, _: float) -> Tensor:
    levels = (x * 255).round().clamp(0, 255).long().flatten(-2)  # (..., H*W)
    rows = levels.reshape(-1, levels.shape[-1])
    counts = torch.zeros(len(rows), 256, dtype=torch.long).scatter_add_(1, rows, torch.ones_like(rows))
    last = (counts * (torch.arange(256) == rows.amax(1, keepdim=True))).sum(1)
    step = (rows.shape[1] - last) // 255
    table = (counts.cumsum(1) + (step // 2)[:, None]) // step.clamp(min=1)[:, None]
    table = F.pad(table, (1, 0))[:, :-1].clamp(0, 255)
    table = torch.where(step[:, None] == 0, torch.arange(256), table)
    return (table.gather(1, rows).to(x.dtype) / 255).view(x.shape)


def invert(x: Tensor) -> Tensor:
    """1 minus each value, depth included."""
    return 1 - x


@_colours
def posterise(x: Tensor, bits: float) -> Tensor:
    """Only the highest `bits` of eight remain of each value; 0 leaves nothing."""
    lost = 2 ** (8 - int(bits))
    return ((x * 255).round().long() // lost * lost).to(x.dtype) / 255


@_colours
def solarise(x: Tensor, threshold: float) -> Tensor:
    """Values from the threshold on are inverted."""
    return torch.where(x >= threshold, 1 - x, x)


@_colours
def solarise_add(x: Tensor, amount: float) -> Tensor:
    """Values below one half are made brighter by `amount`."""
    return torch.where(x < 128 / 255, (x + amount).clamp(max=1.0), x)


def rotate(x: Tensor, degrees: float) -> Tensor:
    """Turned anticlockwise around the middle."""
    turn = math.radians(degrees)
    return _moved(x, ((math.cos(turn), -math.sin(turn), 0.0), (math.sin(turn), math.cos(turn), 0.0)))


def shear(x: Tensor, along_rows: float, along_columns: float) -> Tensor:
    """Rows, or columns, shifted by this much a pixel of their distance from the first."""
    height, width = x.shape[-2:]
    # The corner stays where it is: what the middle is moved by comes on top.
    return _moved(
        x,
        (
            (1.0, along_rows, along_rows * height / 2),
            (along_columns, 1.0, along_columns * width / 2),
        ),
    )


def translate(x: Tensor, right: float, down: float) -> Tensor:
    """Moved to the left and up, by shares of width and height."""
    height, width = x.shape[-2:]
    return _moved(x, ((1.0, 0.0, right * width), (0.0, 1.0, down * height)))


def _moved(x: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """What stands at (x, y) comes from matrix * (x, y, 1), in pixels from the middle; bilinear, grey from outside."""
    height, width = x.shape[-2:]
    across = torch.arange(width, dtype=x.dtype) + 0.5 - width / 2
    along = torch.arange(height, dtype=x.dtype) + 0.5 - height / 2
    (a, b, c), (d, e, f) = matrix
    columns = a * across[None] + b * along[:, None] + c
    rows = d * across[None] + e * along[:, None] + f
    grid = torch.stack([columns * 2 / width, rows * 2 / height], -1)[None]
    flat = x.reshape(1, -1, height, width) - FILL
    drawn = F.grid_sample(flat, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (drawn + FILL).view(x.shape)
