"""A layered image: pixels that know their four neighbours, so that a place may hold several of them, or none.

Also known as a layered depth image (LDI). There is no list of layers: what belongs together is linked, whatever the
topology, and whoever follows the links stays on one surface (2008.12298, section 4.2).
"""

# H lattice rows, W lattice columns, K pixels

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEFT, RIGHT, UP, DOWN = 0, 1, 2, 3  # columns of LayeredImage.neighbours
OPPOSITE = (RIGHT, LEFT, DOWN, UP)
STEP_X = (-1, 1, 0, 0)
STEP_Y = (0, 0, -1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayeredImage:
    """K pixels on an H x W lattice; a place may hold none, one or several (a layered depth image, LDI).

    The first H*W pixels are the photo's own in raster order (index = y*width + x); grown ones follow.
    """

    height: int
    width: int
    x: np.ndarray  # (K,) int32, column
    y: np.ndarray  # (K,) int32, row
    colour: np.ndarray  # (K, 3) float32 in [0, 1], sRGB
    disparity: np.ndarray  # (K,) float32 in [0, 1]: 1 nearest, 0 farthest
    neighbours: np.ndarray  # (K, 4) int32: the linked pixel, -1 where none; n[n[p, RIGHT], LEFT] == p
    layer: np.ndarray  # (K,) int16: 0 for the photo's own pixels, else the step of growth that made it
    known: np.ndarray  # (K,) bool: colour known (the photo's own)

    def __len__(self) -> int:
        return len(self.x)

    def check(self) -> None:
        """Raise ValueError, with the first broken rule, where the arrays are no layered image."""
        count, places = len(self), self.height * self.width
        kinds = {
            "x": (self.x, (count,), np.int32),
            "y": (self.y, (count,), np.int32),
            "colour": (self.colour, (count, 3), np.float32),
            "disparity": (self.disparity, (count,), np.float32),
            "neighbours": (self.neighbours, (count, 4), np.int32),
            "layer": (self.layer, (count,), np.int16),
            "known": (self.known, (count,), np.bool_),
        }
        for name, (array, shape, dtype) in kinds.items():
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}")
        rules = {
            "the photo's own pixels do not come first, in raster order": (
                count >= places
                and np.array_equal(self.y[:places] * self.width + self.x[:places], np.arange(places))
                and not self.layer[:places].any()
                and bool((self.layer[places:] > 0).all())
            ),
            "a pixel lies outside the lattice": bool(
                ((self.x >= 0) & (self.x < self.width) & (self.y >= 0) & (self.y < self.height)).all()
            ),
            "a disparity lies outside 0 to 1": bool(((self.disparity >= 0) & (self.disparity <= 1)).all()),
            "a colour is not finite": bool(np.isfinite(self.colour).all()),
            "a link leads to no pixel": bool(
                ((self.neighbours >= -1) & (self.neighbours < count)).all()
            ),
        }  # fmt: skip
        for sentence, kept in rules.items():
            if not kept:
                raise ValueError(sentence)
        for direction in range(4):
            here = np.flatnonzero(self.neighbours[:, direction] >= 0)
            there = self.neighbours[here, direction]
            if not np.array_equal(self.neighbours[there, OPPOSITE[direction]], here):
                raise ValueError(f"links in direction {direction} do not lead back")
            straight = (self.x[there] == self.x[here] + STEP_X[direction]) & (
                self.y[there] == self.y[here] + STEP_Y[direction]
            )
            if not straight.all():
                raise ValueError(f"links in direction {direction} do not lead to the next place")


def lattice_links(height: int, width: int) -> np.ndarray:
    """Links (H*W, 4) int32 of a lattice in which every pixel is linked to all its neighbours."""
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    links = np.full((height, width, 4), -1, np.int32)
    links[:, 1:, LEFT] = index[:, :-1]
    links[:, :-1, RIGHT] = index[:, 1:]
    links[1:, :, UP] = index[:-1]
    links[:-1, :, DOWN] = index[1:]
    return links.reshape(-1, 4)


def single_layer(photo: np.ndarray, disparity: np.ndarray) -> LayeredImage:
    """A photo (H, W, 3) uint8 and its disparity (H, W) as one fully linked sheet: foreground sticks to background."""
    height, width = disparity.shape
    y, x = np.divmod(np.arange(height * width, dtype=np.int32), np.int32(width))
    return LayeredImage(
        height=height,
        width=width,
        x=x,
        y=y,
        colour=photo.reshape(-1, 3).astype(np.float32) / np.float32(255),
        disparity=np.ascontiguousarray(disparity, np.float32).ravel(),
        neighbours=lattice_links(height, width),
        layer=np.zeros(height * width, np.int16),
        known=np.ones(height * width, np.bool_),
    )


def walk(neighbours: np.ndarray, start: np.ndarray, direction: int, steps: int = 1) -> np.ndarray:
    """The pixels `steps` links away from the pixels `start` in one direction; -1 where a link is missing."""
    at = start
    for _ in range(steps):
        at = np.where(at >= 0, neighbours[at, direction], -1)
    return at


def reach(neighbours: np.ndarray, start: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """The pixels reached by dx columns and dy rows along the links: first horizontally, else first vertically."""
    across, along = (RIGHT if dx > 0 else LEFT), (DOWN if dy > 0 else UP)
    first = walk(neighbours, walk(neighbours, start, across, abs(dx)), along, abs(dy))
    second = walk(neighbours, walk(neighbours, start, along, abs(dy)), across, abs(dx))
    return np.where(first >= 0, first, second)


def front_index(image: LayeredImage) -> np.ndarray:
    """Which pixel the capture pose sees at each place: (H, W) int64, the nearest, the older of two alike, or -1."""
    place = image.y.astype(np.int64) * image.width + image.x
    order = np.lexsort((-np.arange(len(image)), image.disparity))  # the nearest and oldest is written last
    seen = np.full(image.height * image.width, -1, np.int64)
    seen[place[order]] = order
    return seen.reshape(image.height, image.width)


def render_front(image: LayeredImage) -> np.ndarray:
    """What the capture pose sees, (H, W, 3) uint8: the photo itself, since everything grown is hidden."""
    colour = image.colour[front_index(image)]
    return np.rint(colour * 255).astype(np.uint8)


def subset(neighbours: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kept pixels' old numbers (N,) int64, and the links among them (N, 4) int32 in their new numbers."""
    old = np.flatnonzero(keep)
    new = np.full(len(neighbours) + 1, -1, np.int32)  # the last entry is what -1 finds
    new[old] = np.arange(len(old), dtype=np.int32)
    return old, new[neighbours[old]]
