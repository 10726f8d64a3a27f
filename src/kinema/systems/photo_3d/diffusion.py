"""Colours diffused along links into what is unknown: every pixel becomes the mean of its linked neighbours."""

from __future__ import annotations

import numpy as np

from kinema.systems.photo_3d.compiled import compiled


def diffused(
    colour: np.ndarray,
    known: np.ndarray,
    links: np.ndarray,
    sweeps: int = 80,
    overrelaxation: float = 1.9,
    tolerance: float = 1 / 1024,
) -> np.ndarray:
    """Colours (K, 3) float32 with the unknown ones (`known` (K,) bool) filled; known ones stay.

    From a first guess that spreads outwards from what is known, successive overrelaxation comes to the smoothest
    filling, within `tolerance` a sweep. Pixels that no link joins to a known one get the mean of all known colours.
    """
    filled = colour.copy()
    unknown = np.flatnonzero(~known).astype(np.int32)
    if len(unknown) == 0:
        return filled
    mean = colour[known].mean(0) if known.any() else np.full(3, 0.5, np.float32)
    filled[unknown] = mean
    order = _spread(filled, known.copy(), links, unknown)
    _relax(filled, links, order, sweeps, np.float32(overrelaxation), np.float32(tolerance))
    return np.clip(filled, 0.0, 1.0)


@compiled
def _spread(filled: np.ndarray, known: np.ndarray, links: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Fill breadth-first from what is known, each pixel with the mean of those before it; returns that order."""
    order = np.empty(len(unknown), np.int32)
    queued = known.copy()
    count = 0
    for pixel in unknown:
        for direction in range(4):
            other = links[pixel, direction]
            if other >= 0 and known[other] and not queued[pixel]:
                queued[pixel] = True
                order[count] = pixel
                count += 1
    at = 0
    while at < count:
        pixel = order[at]
        at += 1
        red, green, blue, number = np.float32(0), np.float32(0), np.float32(0), 0
        for direction in range(4):
            other = links[pixel, direction]
            if other < 0:
                continue
            if known[other]:
                red += filled[other, 0]
                green += filled[other, 1]
                blue += filled[other, 2]
                number += 1
            elif not queued[other]:
                queued[other] = True
                order[count] = other
                count += 1
        filled[pixel, 0], filled[pixel, 1], filled[pixel, 2] = red / number, green / number, blue / number
        known[pixel] = True
    return order[:count]


@compiled
def _relax(
    filled: np.ndarray,
    links: np.ndarray,
    order: np.ndarray,
    sweeps: int,
    factor: np.float32,
    tolerance: np.float32,
) -> None:
    """Sweep to and fro over the pixels `order` until none changes by more than the tolerance."""
    for sweep in range(sweeps):
        most = np.float32(0)
        for turn in range(len(order)):
            pixel = order[turn] if sweep % 2 == 0 else order[len(order) - 1 - turn]
            red, green, blue, number = np.float32(0), np.float32(0), np.float32(0), 0
            for direction in range(4):
                other = links[pixel, direction]
                if other >= 0:
                    red += filled[other, 0]
                    green += filled[other, 1]
                    blue += filled[other, 2]
                    number += 1
            red = factor * (red / number - filled[pixel, 0])
            green = factor * (green / number - filled[pixel, 1])
            blue = factor * (blue / number - filled[pixel, 2])
            filled[pixel, 0] += red
            filled[pixel, 1] += green
            filled[pixel, 2] += blue
            most = max(most, abs(red), abs(green), abs(blue))
        if most < tolerance:
            break
