"""Disparity made fit for lifting: soft edges become steps, and specks join the surface they touch most."""

from __future__ import annotations

import numpy as np

from kinema.systems.photo_3d.compiled import compiled


def sharpened(
    disparity: np.ndarray, sigma: float = 0.2, tau: float = 0.05, passes: int = 3, radius: int = 2
) -> np.ndarray:
    """The disparity (H, W) float32 with its smeared edges turned into steps by a weighted median.

    A tap weighs exp(-(difference to the centre)^2 / (2 sigma^2)), and nothing where it lies on a smeared edge, that
    is, where a 4-neighbour differs by more than tau: so the centre has to take the side of the foreground or of the
    background. Where no tap weighs anything the plain median stands in. Pixels without a smeared tap in their window
    stay as they are: there is no edge to sharpen. Each pass eats one pixel of a ramp from either side.
    """
    current = np.ascontiguousarray(disparity, np.float32)
    for _ in range(passes):
        smeared = _smeared(current, np.float32(tau))
        if not smeared.any():
            break
        current = _weighted_median(current, smeared, np.float32(sigma), radius)
    return current


def without_specks(disparity: np.ndarray, tau: float = 0.05, smallest: int = 20) -> np.ndarray:
    """The disparity (H, W) float32 with every part of fewer than `smallest` pixels merged into its surroundings.

    A part is what links between 4-neighbours within tau hold together. It joins the side, nearer or farther than
    itself, that it shares the longer boundary with, and its pixels take that side's disparity from the nearest of it.
    """
    found = np.ascontiguousarray(disparity, np.float32).copy()
    part = _parts(found, np.float32(tau))
    sizes = np.bincount(part, minlength=part.size)
    small = np.flatnonzero(sizes[part] < smallest)
    if len(small) == 0 or sizes.max() < smallest:  # a picture of nothing but specks has no surface to join
        return found
    small = small[np.argsort(part[small], kind="stable")]
    _merge_specks(found, part, small)
    return found


def without_unknown(disparity: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The disparity (H, W) float32 with a value where none is known.

    Measured depth lacks what one of two cameras did not see, which is background: of the nearest known values to the
    left and to the right in a row the farther is taken; in rows that know nothing, of those above and below.
    """
    found, there = np.array(disparity, np.float32), np.array(known)
    if there.all():
        return found
    for _ in range(2):
        at, columns = np.arange(len(there))[:, None], np.arange(there.shape[1])
        last = there.shape[1] - 1
        before = np.maximum.accumulate(np.where(there, columns, -1), 1)
        after = np.minimum.accumulate(np.where(there, columns, last + 1)[:, ::-1], 1)[:, ::-1]
        left = np.where(before >= 0, found[at, before.clip(0)], np.float32(np.inf))
        right = np.where(after <= last, found[at, after.clip(0, last)], np.float32(np.inf))
        taken = np.minimum(left, right)
        fill = ~there & np.isfinite(taken)
        found[fill] = taken[fill]
        found, there = found.T, (there | fill).T
    return np.ascontiguousarray(found)


@compiled
def _smeared(disparity: np.ndarray, tau: np.float32) -> np.ndarray:
    height, width = disparity.shape
    smeared = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            if x + 1 < width and abs(disparity[y, x + 1] - disparity[y, x]) > tau:
                smeared[y, x] = smeared[y, x + 1] = True
            if y + 1 < height and abs(disparity[y + 1, x] - disparity[y, x]) > tau:
                smeared[y, x] = smeared[y + 1, x] = True
    return smeared


@compiled
def _weighted_median(
    disparity: np.ndarray, smeared: np.ndarray, sigma: np.float32, radius: int
) -> np.ndarray:
    height, width = disparity.shape
    out = disparity.copy()
    near = np.zeros((height, width), np.bool_)  # a smeared tap lies in the window
    for y in range(height):
        for x in range(width):
            if smeared[y, x]:
                for v in range(max(y - radius, 0), min(y + radius + 1, height)):
                    for u in range(max(x - radius, 0), min(x + radius + 1, width)):
                        near[v, u] = True
    most = (2 * radius + 1) ** 2
    values, weights = np.empty(most, np.float32), np.empty(most, np.float32)
    for y in range(height):
        for x in range(width):
            if not near[y, x]:
                continue
            centre = disparity[y, x]
            count, total = 0, np.float32(0)
            for plain in range(2):  # a second round, all weights equal, where none weighed anything
                count, total = 0, np.float32(0)
                for v in range(max(y - radius, 0), min(y + radius + 1, height)):
                    for u in range(max(x - radius, 0), min(x + radius + 1, width)):
                        if plain == 0 and smeared[v, u]:
                            continue
                        value = disparity[v, u]
                        off = (value - centre) / sigma
                        weight = np.float32(1) if plain == 1 else np.float32(np.exp(-0.5 * off * off))
                        at = count
                        while at > 0 and values[at - 1] > value:  # kept sorted by value
                            values[at], weights[at] = values[at - 1], weights[at - 1]
                            at -= 1
                        values[at], weights[at] = value, weight
                        count += 1
                        total += weight
                if total > 0:
                    break
            below = np.float32(0)
            for at in range(count):
                below += weights[at]
                if 2 * below >= total:
                    out[y, x] = values[at]
                    break
    return out


@compiled
def _root(parent: np.ndarray, index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


@compiled
def _parts(disparity: np.ndarray, tau: np.float32) -> np.ndarray:
    """Number each pixel by the first pixel of its part, (H*W,) int32."""
    height, width = disparity.shape
    parent = np.empty(height * width, np.int32)
    for y in range(height):
        for x in range(width):
            index = y * width + x
            parent[index] = index
            if x > 0 and abs(disparity[y, x] - disparity[y, x - 1]) <= tau:
                parent[index] = _root(parent, index - 1)
            if y > 0 and abs(disparity[y, x] - disparity[y - 1, x]) <= tau:
                one, two = _root(parent, index), _root(parent, index - width)
                parent[max(one, two)] = min(one, two)
    for index in range(height * width):
        parent[index] = parent[parent[index]]  # parents come first, so theirs are final
    return parent


@compiled
def _merge_specks(disparity: np.ndarray, part: np.ndarray, small: np.ndarray) -> None:
    """Merge the parts whose pixels `small` lists, part after part; `disparity` is changed in place."""
    height, width = disparity.shape
    flat = disparity.reshape(-1)
    first = 0
    while first < len(small):
        last = first
        name = part[small[first]]
        while last < len(small) and part[small[last]] == name:
            last += 1
        contacts = np.zeros(2, np.int64)
        for turn in range(first, last):
            index = small[turn]
            y, x = index // width, index % width
            for direction in range(4):
                v, u = y + (direction == 3) - (direction == 2), x + (direction == 1) - (direction == 0)
                if 0 <= v < height and 0 <= u < width and part[v * width + u] != name:
                    contacts[int(disparity[v, u] > flat[index])] += 1
        nearer = contacts[1] > contacts[0]
        # From its rim inwards: a pixel takes the mean of that side's pixels, or of those that have joined it.
        joined = np.zeros(last - first, np.bool_)
        values = np.zeros(last - first, np.float32)
        left = last - first
        while left > 0:
            ready = np.zeros(last - first, np.bool_)
            for turn in range(first, last):
                if joined[turn - first]:
                    continue
                index = small[turn]
                y, x = index // width, index % width
                total, count = np.float32(0), 0
                for direction in range(4):
                    v, u = y + (direction == 3) - (direction == 2), x + (direction == 1) - (direction == 0)
                    if not (0 <= v < height and 0 <= u < width):
                        continue
                    other = v * width + u
                    if part[other] != name:
                        if (flat[other] > flat[index]) == nearer:
                            total += flat[other]
                            count += 1
                    else:
                        for k in range(first, last):
                            if small[k] == other and joined[k - first]:
                                total += values[k - first]
                                count += 1
                if count > 0:
                    values[turn - first] = total / count
                    ready[turn - first] = True
            for k in range(last - first):
                if ready[k]:
                    joined[k] = True
                    left -= 1
            if not ready.any():
                break
        for turn in range(first, last):
            if joined[turn - first]:
                flat[small[turn]] = values[turn - first]
        first = last
