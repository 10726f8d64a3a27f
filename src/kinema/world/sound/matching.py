"""Pair true times with detected times, one to one."""

from __future__ import annotations

from collections.abc import Sequence

_ROUNDING = 1e-9  # so that 1.04 is within 0.04 of 1.0


def match_times(
    reference: Sequence[float], detected: Sequence[float], tolerance: float
) -> list[tuple[int, int]]:
    """The largest set of pairs (index in reference, index in detected) no further apart than `tolerance` (s).

    Each time is used once at most. With one tolerance for all, meeting both lists in order of time finds a largest
    set: if the two earliest times reach each other, some largest set pairs them; if not, the earlier one reaches none.
    """
    left = sorted(range(len(reference)), key=lambda i: reference[i])
    right = sorted(range(len(detected)), key=lambda j: detected[j])
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        late = detected[right[j]] - reference[left[i]]
        if abs(late) <= tolerance + _ROUNDING:
            pairs.append((left[i], right[j]))
            i, j = i + 1, j + 1
        elif late < 0:
            j += 1
        else:
            i += 1
    return pairs
