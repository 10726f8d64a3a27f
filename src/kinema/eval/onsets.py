"""Onset scores: how many true onsets were found, and how many found ones are true, within a tolerance.

The measures are those of MIREX and `mir_eval.onset.f_measure`: one-to-one matching of largest size within a window of
either side, and zero where there is nothing to divide by. Here the tolerance is 40 ms (one frame at 25 Hz) by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kinema.errors import UserError
from kinema.world.sound.matching import match_times

TOLERANCE = 0.04  # seconds


@dataclass(frozen=True, kw_only=True)
class OnsetScore:
    """Counts of one clip or of many; scores of several clips add up (pooled, not averaged)."""

    hits: int
    references: int
    detections: int
    error: float = 0.0  # sum over hits of |detected - true| (s)

    def __add__(self, other: OnsetScore) -> OnsetScore:
        return OnsetScore(
            hits=self.hits + other.hits,
            references=self.references + other.references,
            detections=self.detections + other.detections,
            error=self.error + other.error,
        )

    @property
    def precision(self) -> float:
        """The share of detections that are true; 0 without detections."""
        return self.hits / self.detections if self.detections else 0.0

    @property
    def recall(self) -> float:
        """The share of true onsets that were found; 0 without true onsets."""
        return self.hits / self.references if self.references else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 without either."""
        total = self.references + self.detections
        return 2 * self.hits / total if total else 0.0

    @property
    def mean_error(self) -> float:
        """Mean distance (s) of the hits from the truth; 0 without hits."""
        return self.error / self.hits if self.hits else 0.0


def score_onsets(
    reference: Sequence[float], detected: Sequence[float], tolerance: float = TOLERANCE
) -> OnsetScore:
    """Score the detected onsets (s) of one clip against the true ones; order does not matter.

    Raises:
        UserError: the tolerance is negative.
    """
    if tolerance < 0:
        raise UserError(f"the tolerance is {tolerance} s; it is zero or more")
    pairs = match_times(reference, detected, tolerance)
    return OnsetScore(
        hits=len(pairs),
        references=len(reference),
        detections=len(detected),
        error=sum(abs(detected[j] - reference[i]) for i, j in pairs),
    )


def score_clips(
    clips: Iterable[tuple[Sequence[float], Sequence[float]]], tolerance: float = TOLERANCE
) -> OnsetScore:
    """The pooled score of many clips, each (true onsets, detected onsets); no onset is matched across clips."""
    total = OnsetScore(hits=0, references=0, detections=0)
    for reference, detected in clips:
        total += score_onsets(reference, detected, tolerance)
    return total
