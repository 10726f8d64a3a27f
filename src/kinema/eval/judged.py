"""From answers and truths to figures: accuracy with its interval, and which answers stand for which truth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kinema.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The share of right answers, and the interval that holds the true share at the given confidence."""

    right: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Right answers over all answers."""
        return self.right / self.total

    def __str__(self) -> str:
        return f"{100 * self.share:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson_interval(right: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval for a share; z = 1.96 is 95 %. It stays within [0, 1] at 0 and at all right."""
    if total < 1 or not 0 <= right <= total:
        raise UserError(
            f"{right} right of {total} is no share: expected at least one answer, and right <= total"
        )
    share, weight = right / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == total else min(1.0, centre + half)
    return low, high


def accuracy(answers: Sequence[str], truths: Sequence[str], z: float = 1.959964) -> Accuracy:
    """Compare answer by answer. Raises UserError when the counts differ or there is none."""
    if len(answers) != len(truths):
        raise UserError(f"there are {len(answers)} answers for {len(truths)} truths: expected one each")
    right = sum(a == t for a, t in zip(answers, truths, strict=True))
    low, high = wilson_interval(right, len(truths), z)
    return Accuracy(right=right, total=len(truths), low=low, high=high)


def confusions(answers: Sequence[str], truths: Sequence[str]) -> dict[str, dict[str, int]]:
    """Truth -> answer -> how often; both in order of frequency. The diagonal is in it."""
    pairs = Counter(zip(truths, answers, strict=True))
    table: dict[str, dict[str, int]] = {}
    for truth, _ in Counter(truths).most_common():
        row = {answer: count for (wanted, answer), count in pairs.items() if wanted == truth}
        table[truth] = dict(sorted(row.items(), key=lambda item: -item[1]))
    return table


def worst_confusions(
    answers: Sequence[str], truths: Sequence[str], count: int = 5
) -> list[tuple[str, str, int]]:
    """The most frequent mistakes: (truth, answer, how often), no diagonal."""
    wrong = Counter((t, a) for a, t in zip(answers, truths, strict=True) if a != t)
    return [(truth, answer, times) for (truth, answer), times in wrong.most_common(count)]
