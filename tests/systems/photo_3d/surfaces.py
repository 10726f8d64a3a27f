"""Layered images small enough to reason about."""

from __future__ import annotations

import numpy as np

from kinema.systems.photo_3d.layered import DOWN, LEFT, RIGHT, UP, LayeredImage

STEPS = {LEFT: (-1, 0), RIGHT: (1, 0), UP: (0, -1), DOWN: (0, 1)}


def from_photo(colour, disparity, growth=0, tau=0.05):
    """Lift without any cleverness: cut where disparity jumps, and continue the far side behind the near one.

    The hidden surface is one plane of the far side's disparity, `growth` pixels wide behind each edge.
    """
    height, width = disparity.shape
    y, x = (a.ravel().astype(np.int32) for a in np.mgrid[:height, :width])
    flat = disparity.ravel().astype(np.float32)
    colour = colour.reshape(-1, 3).astype(np.float32)
    index = np.arange(height * width).reshape(height, width)
    table = [dict[int, int]() for _ in range(height * width)]
    edges = []
    for side, back, here, there in (
        (RIGHT, LEFT, index[:, :-1], index[:, 1:]),
        (DOWN, UP, index[:-1], index[1:]),
    ):
        for p, q in zip(here.ravel().tolist(), there.ravel().tolist()):
            if abs(flat[p] - flat[q]) <= tau:
                table[p][side], table[q][back] = q, p
            elif flat[p] < flat[q]:
                edges.append((p, side))
            else:
                edges.append((q, back))
    hidden: dict[tuple[int, int], int] = {}
    own = {
        "x": x.tolist(),
        "y": y.tolist(),
        "d": flat.tolist(),
        "c": colour.tolist(),
        "layer": [0] * len(flat),
    }
    front = edges
    for step in range(1, growth + 1):
        fresh = []
        for p, side in front:
            place = own["x"][p] + STEPS[side][0], own["y"][p] + STEPS[side][1]
            if not (0 <= place[0] < width and 0 <= place[1] < height) or side in table[p]:
                continue
            if own["d"][p] >= flat[place[1] * width + place[0]] - tau:
                continue
            if place not in hidden:
                hidden[place] = len(own["x"])
                own["x"].append(place[0]), own["y"].append(place[1]), own["layer"].append(step)
                own["d"].append(own["d"][p]), own["c"].append(own["c"][p]), table.append({})
                fresh.append(hidden[place])
            q = hidden[place]
            if (side ^ 1) not in table[q]:
                table[p][side], table[q][side ^ 1] = q, p
        for q in fresh:  # those on neighbouring places are one surface
            for side, (dx, dy) in STEPS.items():
                other = hidden.get((own["x"][q] + dx, own["y"][q] + dy))
                if other is not None and side not in table[q] and (side ^ 1) not in table[other]:
                    table[q][side], table[other][side ^ 1] = other, q
        front = [(q, side) for q in fresh for side in range(4) if side not in table[q]]
    neighbours = np.full((len(table), 4), -1, np.int32)
    for p, links in enumerate(table):
        for side, q in links.items():
            neighbours[p, side] = q
    layer = np.array(own["layer"], np.int16)
    return LayeredImage(
        height=height,
        width=width,
        x=np.array(own["x"], np.int32),
        y=np.array(own["y"], np.int32),
        colour=np.array(own["c"], np.float32),
        disparity=np.array(own["d"], np.float32),
        neighbours=neighbours,
        layer=layer,
        known=layer == 0,
    )


def soft_picture(height, width, seed=0):
    """Smooth colours (H, W, 3) in [0, 1] in which a shift of a pixel shows."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = random.uniform(0.02, 0.12, (3, 2, 2))
    return np.stack(
        [0.5 + 0.4 * np.sin(x * a + y * b) * np.cos(x * c - y * d) for (a, b), (c, d) in waves], -1
    )


def crowd(height, width, seed):
    """Discs and squares at many depths before a ground that meets a wall: photo uint8 (H, W, 3), disparity (H, W)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    disparity = np.where(y > 0.6 * height, 0.1 + 0.3 * (y / height - 0.6), 0.02)
    colour = soft_picture(height, width, seed)
    for number, level in enumerate(np.sort(random.uniform(0.25, 1, 12))):
        cx, cy, r = random.uniform(0, width), random.uniform(0, height), random.uniform(4, height / 4)
        near = (
            (x - cx) ** 2 + (y - cy) ** 2 < r * r if number % 2 else np.maximum(abs(x - cx), abs(y - cy)) < r
        )
        disparity[near], colour[near] = level, 0.3 * colour[near] + 0.7 * random.uniform(0, 1, 3)
    return np.rint(colour * 255).astype(np.uint8), disparity.astype(np.float32)
