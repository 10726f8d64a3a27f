"""MultiDiffusion: windows cover everything, a local velocity is unchanged by them, and windows reach agreement."""

from __future__ import annotations

import itertools

import pytest
import torch

from kinema.flow.schedules import linear
from kinema.flow.solvers import euler
from kinema.flow.windows import even, multidiffusion, taper, window_starts


@pytest.mark.parametrize(
    ("size", "window", "overlap"), [(4, 8, 2), (8, 8, 2), (9, 8, 2), (32, 4, 2), (33, 14, 4)]
)
def test_windows_cover_every_position_and_overlap_as_asked(size: int, window: int, overlap: int) -> None:
    starts = window_starts(size, window, overlap)
    covered = {p for s in starts for p in range(s, min(s + window, size))}
    assert covered == set(range(size))
    assert all(b - a <= window - overlap for a, b in itertools.pairwise(starts))
    assert starts == [0] if size <= window else starts[-1] == size - window


def test_weights_ramp_at_both_ends_and_are_never_zero() -> None:
    assert taper(6, 2).tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])
    assert taper(4, 0).tolist() == [1.0] * 4


@pytest.mark.parametrize("overlap", [4, -1])
def test_an_overlap_that_cannot_be_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="cannot overlap"):
        multidiffusion(lambda x, t: x, 4, overlap)


def test_a_velocity_that_looks_at_single_positions_is_not_changed_by_windows() -> None:
    x = torch.randn(2, 3, 21, 5, dtype=torch.float64)
    t = torch.full((2,), 0.3, dtype=torch.float64)
    for axis in (2, -2):
        windowed = multidiffusion(lambda x, t: x.sin() * t.view(-1, 1, 1, 1), 6, 2, axis)
        torch.testing.assert_close(windowed(x, t), x.sin() * 0.3)


def test_the_average_is_weighted_by_the_ramps() -> None:
    marks = iter((1.0, 2.0))
    made = multidiffusion(lambda x, t: torch.full_like(x, next(marks)), 4, 2)(
        torch.zeros(1, 1, 6), torch.zeros(1)
    )
    assert made.flatten().tolist() == pytest.approx([1, 1, 1 + 1 / 3, 1 + 2 / 3, 2, 2])


def test_even_weights_are_a_plain_average() -> None:
    marks = iter((1.0, 2.0))
    made = multidiffusion(lambda x, t: torch.full_like(x, next(marks)), 4, 2, weights=even)(
        torch.zeros(1, 1, 6), torch.zeros(1)
    )
    assert made.flatten().tolist() == pytest.approx([1, 1, 1.5, 1.5, 2, 2])


def test_the_condition_beside_the_sample_may_have_channels_of_its_own() -> None:
    x = torch.randn(1, 5, 9)
    made = multidiffusion(lambda x, t: x[:, :2], 4, 1)(x, torch.zeros(1))
    torch.testing.assert_close(made, x[:, :2])


def test_a_short_sample_is_one_plain_call() -> None:
    calls = []
    multidiffusion(lambda x, t: calls.append(x.shape) or x, 8, 2)(torch.zeros(1, 1, 8), torch.zeros(1))
    assert calls == [(1, 1, 8)]


def test_windows_exchange_what_they_know_while_the_sample_forms() -> None:
    """Each window pulls to the mean of its own noise; overlapping windows end closer together."""

    def to_own_mean(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (x.mean(2, keepdim=True) - x) * 4

    noise = torch.randn(64, 1, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def jump(overlap: int) -> float:  # at the border of the first window
        end = euler(multidiffusion(to_own_mean, 8, overlap), noise, linear(50))
        return float((end[:, 0, 8] - end[:, 0, 7]).abs().mean())

    assert jump(4) < 0.5 * jump(0)
