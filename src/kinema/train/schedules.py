"""Learning-rate schedules: pure functions from the step (0-based) to a factor on the base learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Schedule = Literal["constant", "linear", "cosine", "cosine_line", "wsd", "plateau"]
BEND = 0.1  # where the cosine of cosine_line ends and its line begins


def warmup_factor(step: int, warmup_steps: int) -> float:
    """Linear warm-up: 1/W at step 0, 1 from step W-1 on."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0


def cosine_factor(progress: float, floor: float = 0.0) -> float:
    """Half a cosine from 1 at progress 0 to `floor` at progress 1."""
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


def linear_factor(progress: float, floor: float = 0.0) -> float:
    """A straight line from 1 at progress 0 to `floor` at progress 1."""
    return 1.0 + (floor - 1.0) * min(max(progress, 0.0), 1.0)


def learning_rate_factor(
    schedule: Schedule,
    step: int,
    *,
    steps: int,
    warmup_steps: int = 0,
    decay_fraction: float = 0.2,
    floor: float = 0.0,
) -> float:
    """The factor for optimiser step `step` of `steps`.

    constant, plateau: 1 after the warm-up (the plateau's drops are a state, see `Plateau`).
    linear, cosine: from 1 after the warm-up to `floor` at the last step.
    cosine_line: from 1 along a cosine to a tenth, then to `floor` in a line over the last `decay_fraction` of them.
    wsd: warm-up, stable, then linear to `floor` over the last `decay_fraction` of the steps.
    """
    if step < warmup_steps:
        return warmup_factor(step, warmup_steps)
    if schedule in ("constant", "plateau"):
        return 1.0
    last = steps - 1
    if schedule == "cosine_line":
        bend = max(warmup_steps, steps - round(decay_fraction * steps))
        if step < bend:
            return cosine_factor((step - warmup_steps) / (bend - warmup_steps), BEND)
        return BEND * linear_factor((step - bend) / max(last - bend, 1), floor / BEND)
    start = warmup_steps if schedule != "wsd" else max(warmup_steps, steps - round(decay_fraction * steps))
    if step < start:
        return 1.0
    progress = (step - start) / (last - start) if last > start else 1.0
    return cosine_factor(progress, floor) if schedule == "cosine" else linear_factor(progress, floor)


@dataclass
class Plateau:
    """Drops the learning rate by `factor` when more than `patience` observations in a row have not improved.

    An observation improves when it lies below the best one so far by more than `threshold` times its size; smaller
    steps do not move the best, so a slow creep adds up until it counts. Drops end at `floor`.
    """

    factor: float = 0.5
    patience: int = 5
    threshold: float = 1e-3
    floor: float = 0.0  # the smallest factor on the learning rate
    best: float = math.inf
    waited: int = 0
    scale: float = 1.0

    def observe(self, value: float) -> bool:
        """Take one value (smaller is better); True when the learning rate drops because of it."""
        if value < self.best - abs(self.best if math.isfinite(self.best) else 0.0) * self.threshold:
            self.best, self.waited = value, 0
            return False
        self.waited += 1
        if self.waited <= self.patience or self.scale <= self.floor:
            return False
        self.scale, self.waited = max(self.scale * self.factor, self.floor), 0
        return True

    def state(self) -> dict[str, float]:
        """What resume needs."""
        best = self.best if math.isfinite(self.best) else None
        return {"best": best, "waited": self.waited, "scale": self.scale}  # type: ignore[dict-item]

    def load(self, state: dict[str, float]) -> None:
        """Continue from `state()`."""
        best = state["best"]
        self.best = math.inf if best is None else float(best)
        self.waited, self.scale = int(state["waited"]), float(state["scale"])
