"""Measured maps into pictures for people: depth, masks, flow and heat, and a sound's spectrum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Pixels = npt.NDArray[np.uint8]  # (H, W, 3)

# Colours at even steps from low to high.
DEEP = ((255, 240, 170), (250, 190, 90), (226, 110, 86), (150, 62, 124), (74, 44, 122), (22, 24, 70))
HEAT = (
    (4, 4, 20),
    (50, 16, 92),
    (122, 28, 109),
    (190, 55, 84),
    (236, 105, 37),
    (252, 176, 24),
    (252, 250, 180),
)
SPECTRUM = ((14, 14, 26), (30, 40, 90), (36, 92, 140), (38, 150, 140), (122, 206, 100), (240, 240, 130))
ACTORS = ((255, 118, 74), (70, 196, 220), (240, 205, 70))


def ramp(values: Tensor, stops: tuple[tuple[int, int, int], ...]) -> Pixels:
    """Values (H, W) in [0, 1] through colours at even steps: uint8 (H, W, 3)."""
    level = values.clamp(0, 1).numpy() * (len(stops) - 1)
    table = np.array(stops, np.float32)
    channels = [np.interp(level, np.arange(len(stops)), table[:, c]) for c in range(3)]
    return (np.stack(channels, -1) + 0.5).astype(np.uint8)


def colour_depth(metres: Tensor) -> Pixels:
    """Near is light, far is dark, on a logarithmic scale from 2 to 100 m: (H, W) -> (H, W, 3)."""
    return ramp((metres.clamp(2, 100) / 2).log() / np.log(50.0), DEEP)


def colour_masks(frame: Pixels, shares: Tensor) -> Pixels:
    """Actors in flat colours over the darkened frame: (H, W, 3), (K, H, W) -> (H, W, 3)."""
    grey = frame.astype(np.float32).mean(-1, keepdims=True) * 0.35 + 24
    out = np.repeat(grey, 3, -1)
    for k, share in enumerate(shares):
        mask = share.numpy()[..., None]
        out = out * (1 - mask) + mask * np.array(ACTORS[k % len(ACTORS)], np.float32)
    return (out + 0.5).clip(0, 255).astype(np.uint8)


def colour_flow(speed: Tensor, full: float = 0.0) -> Pixels:
    """Direction as hue, speed as saturation: (2, H, W) -> (H, W, 3). White stands still.

    `full` is the speed of full colour; 0 takes the largest one there is, at least 0.05.
    """
    length = speed.norm(dim=0)
    strength = (length / (full or max(float(length.max()), 0.05))).clamp(0, 1).sqrt()
    hue = torch.atan2(speed[1], speed[0]) / (2 * torch.pi) % 1.0
    channels = []
    for phase in (0.0, 1 / 3, 2 / 3):
        pure = ((hue - phase + 0.5) % 1.0 - 0.5).abs() * 6  # 0 at the channel's own hue, 3 opposite
        channels.append(1 - strength * (1 - (2 - pure).clamp(0, 1)) * 0.72)
    return (torch.stack(channels, -1) * 255 + 0.5).to(torch.uint8).numpy()


def colour_thermal(degrees: Tensor) -> Pixels:
    """Hot is bright, between the picture's own extremes: (H, W) -> (H, W, 3)."""
    low, high = float(degrees.min()), float(degrees.max())
    return ramp((degrees - low) / max(high - low, 1.0), HEAT)
