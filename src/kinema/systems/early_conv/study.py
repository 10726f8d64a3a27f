"""How sensitive a network is to its optimiser's settings: random settings in, distributions of errors out (section 5).

Of each network and optimiser many pairs of learning rate and weight decay are drawn from an interval that is as wide
for all, a short training runs with each, and what is compared is the whole distribution of final errors, not the best.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from kinema.errors import UserError

OptimizerKind = Literal["adamw", "sgd"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where settings are drawn from: lowest and highest of each, on a logarithmic scale."""

    lr: tuple[float, float]
    weight_decay: tuple[float, float]

    def __post_init__(self) -> None:
        for name, (low, high) in (("lr", self.lr), ("weight_decay", self.weight_decay)):
            if not 0 < low < high:
                raise UserError(f"{name}=({low}, {high}) must be two numbers above 0, the lower one first")

    @classmethod
    def around(cls, lr: float, weight_decay: float, low: float = 1 / 8, high: float = 4.0) -> Interval:
        """The paper's width around settings that work: from an eighth of them to four times as much."""
        return cls(lr=(low * lr, high * lr), weight_decay=(low * weight_decay, high * weight_decay))

    def draw(self, count: int, seed: int = 0) -> list[tuple[float, float]]:
        """`count` pairs (learning rate, weight decay), log-uniform and independent; the same for the same seed."""
        rng = random.Random(f"early_conv:{seed}")
        return [(_log_uniform(rng, self.lr), _log_uniform(rng, self.weight_decay)) for _ in range(count)]


# Of the paper, at a batch of 2048 and 50 epochs; the shape of its draw is not told, log-uniform is ours.
PUBLISHED: Final[dict[tuple[str, OptimizerKind], Interval]] = {
    ("vit", "adamw"): Interval(lr=(2.5e-4, 8e-3), weight_decay=(0.02, 0.8)),
    ("vit", "sgd"): Interval(lr=(0.1, 3.2), weight_decay=(4e-6, 1.2e-4)),
    ("regnety", "adamw"): Interval(lr=(1.25e-3, 4e-2), weight_decay=(0.0075, 0.24)),
    ("regnety", "sgd"): Interval(lr=(0.25, 8.0), weight_decay=(3e-6, 8e-5)),
}


@dataclass(frozen=True)
class Errors:
    """Final errors of the runs of one network and optimiser, in percent; a run that diverged counts as 100."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise UserError("there are no runs to describe: pass at least one error")
        clean = tuple(sorted(min(v, 100.0) if math.isfinite(v) else 100.0 for v in self.values))
        object.__setattr__(self, "values", clean)

    @property
    def best(self) -> float:
        """The lowest error."""
        return self.values[0]

    def gaps(self, best: float | None = None) -> tuple[float, ...]:
        """Errors above `best`, in points; the lowest of these runs if none is given."""
        floor = self.best if best is None else best
        return tuple(value - floor for value in self.values)

    def distribution(self, gap: float, best: float | None = None) -> float:
        """The empirical distribution function: the share of runs less than `gap` points above the best."""
        return sum(value < gap for value in self.gaps(best)) / len(self.values)

    def area(self, reach: float, best: float | None = None) -> float:
        """The area under the distribution function from 0 to `reach` points, over `reach`: 1 if all are as good."""
        if reach <= 0:
            raise UserError(f"reach={reach} must be above 0")
        return sum(min(max(reach - gap, 0.0), reach) for gap in self.gaps(best)) / reach / len(self.values)

    def median_gap(self, best: float | None = None) -> float:
        """The middle of the gaps."""
        gaps, middle = self.gaps(best), len(self.values) // 2
        return gaps[middle] if len(gaps) % 2 else (gaps[middle - 1] + gaps[middle]) / 2

    def area_interval(
        self, reach: float, share: float = 0.95, draws: int = 2000, seed: int = 0
    ) -> tuple[float, float]:
        """The bootstrap interval of the area, see `interval`."""
        return self.interval(lambda errors, best: errors.area(reach, best), share, draws, seed)

    def interval(
        self,
        measure: Callable[[Errors, float], float],
        share: float = 0.95,
        draws: int = 2000,
        seed: int = 0,
    ) -> tuple[float, float]:
        """The interval in which `share` of a measure's values lie when runs are drawn again with replacement.

        measure: of errors and the best error, which stays that of all runs, so that an unlucky draw is not made to
        look steeper.
        """
        rng, best = random.Random(f"early_conv:bootstrap:{seed}"), self.best
        found = sorted(
            measure(Errors(tuple(rng.choices(self.values, k=len(self.values)))), best) for _ in range(draws)
        )
        outside = (1 - share) / 2
        return found[int(outside * draws)], found[min(int((1 - outside) * draws), draws - 1)]


def curve(
    errors: Errors, reach: float, points: int = 101, best: float | None = None
) -> list[tuple[float, float]]:
    """(gap, share of runs below it) at evenly spaced gaps up to `reach`, for drawing."""
    gaps: Sequence[float] = [reach * k / (points - 1) for k in range(points)]
    return [(gap, errors.distribution(gap, best)) for gap in gaps]


def _log_uniform(rng: random.Random, interval: tuple[float, float]) -> float:
    low, high = (math.log(value) for value in interval)
    return math.exp(rng.uniform(low, high))
