"""Step caching: where two solver steps are alike, the second reuses what most of the network gave in the first.

The first block always runs. If what it adds to the tokens is close to what it added when the whole network last ran,
then what the other blocks added then is added again, and they are left out. This changes the result: how much is
measured, not promised (`CacheReport.error`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kinema.errors import UserError


@dataclass(frozen=True)
class CacheReport:
    """How often the blocks were left out, and what that did.

    Attributes:
        calls: network calls in all.
        reused: calls in which only the first block ran.
        error: norm of the difference to the latent without a cache, over the norm of the latter; None where that was
            not computed.
    """

    calls: int
    reused: int
    error: float | None = None

    def __str__(self) -> str:
        error = "" if self.error is None else f", relative error {self.error:.3g}"
        return f"step cache: {self.reused} of {self.calls} calls reused{error}"


class StepCache:
    """The state of one run of a solver: make a new one for each.

    threshold: how far the first block's change may have moved, relative to its size (mean of absolute values), in any
        sample of the batch; 0 reuses nothing.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 <= threshold < 1:
            raise UserError(
                f"the threshold of the step cache is {threshold} and must be at least 0 and below 1"
            )
        self.threshold = threshold
        self.calls = 0
        self.reused = 0
        self._change: Tensor | None = None
        self._rest: Tensor | None = None

    def recall(self, change: Tensor) -> Tensor | None:
        """What the other blocks added when they last ran, if `change` (B, N, D) of the first block is close to then."""
        self.calls += 1
        known, rest = self._change, self._rest
        if known is not None and rest is not None and known.shape == change.shape:
            moved = (change - known).abs().mean((1, 2)) / known.abs().mean((1, 2))
            if float(moved.max()) < self.threshold:
                self.reused += 1
                return rest
        self._change = change
        return None

    def store(self, rest: Tensor) -> None:
        """Keep what the blocks after the first added, (B, N, D)."""
        self._rest = rest

    def report(self, error: float | None = None) -> CacheReport:
        """The counts so far."""
        return CacheReport(self.calls, self.reused, error)
