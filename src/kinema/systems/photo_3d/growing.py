"""Hidden surfaces, grown step by step behind the foreground from the far side of every discontinuity."""

from __future__ import annotations

import numpy as np

from kinema.systems.photo_3d.compiled import compiled
from kinema.systems.photo_3d.curves import Curves

Grown = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def grow(
    disparity: np.ndarray,
    links: np.ndarray,
    curves: Curves,
    tau: float = 0.05,
    steps: int = 50,
    smoothing: int = 8,
    closing: int = 24,
) -> Grown:
    """Grow behind the photo's surface `disparity` (H, W) float32 with its `links` (H*W, 4) int32, -1 where none.

    Each step offers every missing link of the last step's pixels (at first, of the discontinuities' far sides) a pixel
    at the next place. It is linked to one that is there, lies within tau and has its own link free: so growth from
    both sides of an object joins, and comes out again where the surface is seen. Otherwise a pixel is made if it stays
    hidden by more than tau, with the mean disparity of the pixels that asked for it. Growth does not cross the
    constraint lines of its curve. Where lines part from each other they leave wedges that no surface reaches, and a
    farther surface ends beside a nearer one, which would both show as gaps. So in `closing` steps more, lines no longer
    count, but a pixel is made only where nothing at its place is as far as itself: the nearest surface takes what is
    empty, and the farther goes on behind the nearer. Afterwards disparities are smoothed along links, and what would
    show is taken away.

    Returns place (N,) int32, disparity (N,), layer (N,) int16 of the grown pixels and the links (H*W + N, 4) of all.
    """
    height, width = disparity.shape
    front = np.ascontiguousarray(disparity, np.float32).reshape(-1)
    direction = _directions(curves.back, curves.front, width)
    place, value, layer, links = _grow(
        front,
        links,
        curves.back,
        direction,
        curves.curve,
        curves.lines,
        curves.constrained,
        height,
        width,
        np.float32(tau),
        steps,
        closing,
    )
    _smooth(front, value, links, smoothing)
    return _hidden_only(front, place, value, layer, links)


def _directions(start: np.ndarray, target: np.ndarray, width: int) -> np.ndarray:
    """The direction of each neighbour: LEFT, RIGHT, UP or DOWN as (E,) int8."""
    dx, dy = target % width - start % width, target // width - start // width
    return np.where(dy == 0, np.where(dx < 0, 0, 1), np.where(dy < 0, 2, 3)).astype(np.int8)


@compiled
def _crosses(
    x: int, y: int, u: int, v: int, lines: np.ndarray, constrained: np.ndarray, curve: int, length: np.float32
) -> bool:
    """Whether the step from (x, y) to (u, v) crosses one of the constraint lines of its curve."""
    for end in range(2):
        if not constrained[curve, end]:
            continue
        left, top = lines[curve, end, 0], lines[curve, end, 1]
        across, down = lines[curve, end, 2], lines[curve, end, 3]
        before = across * (y - top) - down * (x - left)
        after = across * (v - top) - down * (u - left)
        if (before >= 0) != (after >= 0):
            share = before / (before - after)
            along = across * (x + share * (u - x) - left) + down * (y + share * (v - y) - top)
            if 0 < along <= length:
                return True
    return False


@compiled
def _longer(array: np.ndarray) -> np.ndarray:
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer


@compiled
def _grow(
    front: np.ndarray,
    photo_links: np.ndarray,
    start_pixel: np.ndarray,
    start_direction: np.ndarray,
    start_curve: np.ndarray,
    lines: np.ndarray,
    constrained: np.ndarray,
    height: int,
    width: int,
    tau: np.float32,
    steps: int,
    closing: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    places = height * width
    room = places + 16 * len(start_pixel) + 64
    links = np.empty((room, 4), np.int32)
    links[:places] = photo_links
    # Of the grown pixels alone, so numbered from `places` on.
    place, value = np.empty(room - places, np.int32), np.empty(room - places, np.float32)
    layer, owner = np.empty(room - places, np.int16), np.empty(room - places, np.int32)
    below = np.empty(room - places, np.int32)  # the grown pixel before this one at the same place
    top = np.full(places, -1, np.int32)  # the last grown pixel at a place
    count = places
    from_pixel, to_pixel = places, places  # the last step's pixels
    length = np.float32(2 * steps)
    for step in range(1, steps + closing + 1):
        made = count
        wedge = step <= steps  # whether lines count
        starts = len(start_pixel) if step == 1 or step == steps + 1 else 0
        if step == steps + 1:  # once more all links that are missing
            from_pixel, to_pixel = places, count
        offers = starts + 4 * (to_pixel - from_pixel)
        sums = np.zeros(offers, np.float32)
        asked = np.zeros(offers, np.int32)
        for offer in range(offers):
            if offer < starts:
                pixel, direction, curve = start_pixel[offer], int(start_direction[offer]), start_curve[offer]
                here, mine, depth = pixel, front[pixel], 0
            else:
                pixel, direction = from_pixel + (offer - starts) // 4, (offer - starts) % 4
                here, mine = place[pixel - places], value[pixel - places]
                curve, depth = owner[pixel - places], layer[pixel - places]
            if links[pixel, direction] >= 0:
                continue
            x, y = here % width, here // width
            u, v = x + (direction == 1) - (direction == 0), y + (direction == 3) - (direction == 2)
            if u < 0 or u >= width or v < 0 or v >= height:
                continue
            if wedge and _crosses(x, y, u, v, lines, constrained, curve, length):
                continue
            there, back = v * width + u, direction ^ 1
            if depth >= steps and (top[there] < 0 or depth >= steps + closing):
                continue  # what is further than `steps` is of use behind another hidden surface alone
            best, gap, close = -1, tau, False
            if abs(front[there] - mine) <= tau:
                close = True
                if links[there, back] < 0:
                    best, gap = there, abs(front[there] - mine)
            other = top[there]
            while other >= 0:
                apart = abs(value[other - places] - mine)
                if not wedge and value[other - places] < mine:
                    close = True
                if apart <= tau:
                    close = True
                    if links[other, back] < 0 and (best < 0 or apart < gap):
                        best, gap = other, apart
                other = below[other - places]
            if best < 0 and not close and front[there] - mine > tau:
                if count == room:
                    place, value, layer = _longer(place), _longer(value), _longer(layer)
                    owner, below = _longer(owner), _longer(below)
                    room = places + len(place)
                    more = np.empty((room, 4), np.int32)
                    more[:count] = links
                    links = more
                best = count
                new = count - places
                place[new], value[new], layer[new], owner[new] = there, mine, depth + 1, curve
                below[new], top[there] = top[there], count
                links[count] = -1
                count += 1
            if best >= 0:
                links[pixel, direction], links[best, back] = best, pixel
                if best >= made:
                    sums[best - made] += mine
                    asked[best - made] += 1
        for new in range(count - made):
            value[made - places + new] = sums[new] / asked[new]
        from_pixel, to_pixel = made, count
    grown = count - places
    return place[:grown].copy(), value[:grown].copy(), layer[:grown].copy(), links[:count].copy()


@compiled
def _smooth(front: np.ndarray, value: np.ndarray, links: np.ndarray, passes: int) -> None:
    """Draw each grown pixel towards the mean of its linked neighbours, to and fro; the photo's own stay."""
    places, grown = len(front), len(value)
    for turn in range(passes):
        for at in range(grown):
            new = at if turn % 2 == 0 else grown - 1 - at
            total, count = np.float32(0), 0
            for direction in range(4):
                other = links[places + new, direction]
                if other >= 0:
                    total += front[other] if other < places else value[other - places]
                    count += 1
            if count > 0:
                value[new] = total / count


def _hidden_only(
    front: np.ndarray, place: np.ndarray, value: np.ndarray, layer: np.ndarray, links: np.ndarray
) -> Grown:
    """Without the grown pixels that smoothing brought level with the photo's surface or before it."""
    hidden = value < front[place]
    if hidden.all():
        return place, value, layer, links
    keep = np.concatenate([np.ones(len(front), np.bool_), hidden])
    new = np.full(len(keep) + 1, -1, np.int32)  # the last entry is what -1 finds
    new[:-1][keep] = np.arange(int(keep.sum()), dtype=np.int32)
    return place[hidden], value[hidden], layer[hidden], new[links[keep]]
