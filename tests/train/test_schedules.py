"""Learning-rate schedules against their closed forms."""

from __future__ import annotations

import math

import pytest

from kinema.train.schedules import Plateau, cosine_factor, learning_rate_factor, linear_factor, warmup_factor


def test_warmup_is_a_line_that_ends_at_one() -> None:
    assert [warmup_factor(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert warmup_factor(0, 0) == 1.0


def test_cosine_closed_form() -> None:
    for step in range(10, 110):
        expected = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - 10) / 99))
        got = learning_rate_factor("cosine", step, steps=110, warmup_steps=10, floor=0.1)
        assert got == pytest.approx(expected, abs=1e-12)
    assert cosine_factor(0.5) == pytest.approx(0.5)


def test_linear_ends_at_the_floor() -> None:
    factors = [learning_rate_factor("linear", step, steps=11, floor=0.5) for step in range(11)]
    assert factors == pytest.approx([1 - 0.05 * step for step in range(11)])
    assert linear_factor(2.0, 0.25) == 0.25


def test_wsd_is_stable_then_decays_over_the_last_fraction() -> None:
    factors = [
        learning_rate_factor("wsd", step, steps=100, warmup_steps=5, decay_fraction=0.2)
        for step in range(100)
    ]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:81] == [1.0] * 76
    assert factors[80:] == pytest.approx([1 - step / 19 for step in range(20)])


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_constant_stays(schedule: str) -> None:
    assert learning_rate_factor(schedule, 99, steps=100, warmup_steps=10) == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd", "plateau"])
def test_every_schedule_stays_within_zero_and_one(schedule: str) -> None:
    for steps in (1, 2, 7, 50):
        for warmup in (0, 1, steps - 1):
            for step in range(steps):
                factor = learning_rate_factor(schedule, step, steps=steps, warmup_steps=warmup)  # type: ignore[arg-type]
                assert 0.0 <= factor <= 1.0


def test_plateau_drops_after_patience_and_its_state_survives() -> None:
    plateau = Plateau(factor=0.5, patience=2)
    assert [plateau.observe(value) for value in (1.0, 0.5, 0.5, 0.5)] == [False] * 4
    again = Plateau(factor=0.5, patience=2)
    again.load(plateau.state())
    assert again.observe(0.5)
    assert again.scale == 0.5
    assert not again.observe(0.4)
    assert again.best == 0.4


def drops(plateau: Plateau, values: list[float]) -> list[float]:
    """The factor on the learning rate after each value."""
    return [(plateau.observe(value), plateau.scale)[1] for value in values]


def test_plateau_on_a_made_up_run() -> None:
    losses = [2.0, 1.5, 1.2, 1.195, 1.19, 1.21, 0.9, 0.91, 0.95, 0.92, 0.5]
    #         best  .    .   within 2 % of 1.2   best  three without one     best
    assert drops(Plateau(patience=2, threshold=0.02), losses) == [
        1,
        1,
        1,
        1,
        1,
        0.5,
        0.5,
        0.5,
        0.5,
        0.25,
        0.25,
    ]
    assert drops(Plateau(patience=2, threshold=0.0), losses) == [1] * 9 + [0.5, 0.5]


def test_a_slow_creep_counts_once_it_adds_up() -> None:
    plateau = Plateau(patience=3, threshold=0.01)
    assert drops(plateau, [1.0, 0.996, 0.992, 0.988, 0.984, 0.980, 0.976]) == [1.0] * 7
    assert plateau.best == 0.976


def test_drops_end_at_the_floor() -> None:
    assert drops(Plateau(patience=0, factor=0.3, floor=0.1), [1.0] * 5) == [1, 0.3, 0.1, 0.1, 0.1]


def test_a_value_that_is_none_never_improves() -> None:
    plateau = Plateau(patience=1)
    assert drops(plateau, [1.0, math.nan, math.nan, 0.5]) == [1, 1, 0.5, 0.5]
    assert plateau.best == 0.5


def test_plateau_state_before_any_value_is_plain_data() -> None:
    plateau = Plateau()
    plateau.load(Plateau().state())
    assert plateau.best == math.inf
