"""The optimiser study's arithmetic: draws, distribution functions, areas, intervals."""

from __future__ import annotations

import math

import pytest

from kinema.errors import UserError
from kinema.systems.early_conv.study import PUBLISHED, Errors, Interval, curve


def test_draws_are_log_uniform_and_repeat() -> None:
    interval = Interval.around(1e-3, 0.1)
    assert interval.lr == pytest.approx((1.25e-4, 4e-3))
    pairs = interval.draw(4000, seed=1)
    assert pairs == interval.draw(4000, seed=1)
    assert pairs != interval.draw(4000, seed=2)
    logs = [math.log(lr / interval.lr[0]) / math.log(32) for lr, _ in pairs]
    assert 0 <= min(logs) < 0.01
    assert 0.99 < max(logs) <= 1
    assert sum(logs) / 4000 == pytest.approx(0.5, abs=0.02)
    with pytest.raises(UserError, match="lower one first"):
        Interval(lr=(1.0, 0.1), weight_decay=(0.1, 1.0))


def test_published_intervals_are_as_wide_as_told() -> None:
    assert PUBLISHED["vit", "adamw"].lr == (2.5e-4, 8e-3)
    for interval in PUBLISHED.values():
        assert interval.lr[1] / interval.lr[0] == pytest.approx(32)


def test_distribution_area_and_median() -> None:
    errors = Errors((22.0, 20.0, math.nan, 24.0))
    assert errors.values == (20.0, 22.0, 24.0, 100.0)
    assert [errors.distribution(gap) for gap in (0, 1, 2.5, 5, 81)] == [0, 0.25, 0.5, 0.75, 1]
    assert errors.distribution(5, best=18.0) == 0.5
    assert errors.median_gap() == 3
    assert errors.area(4) == pytest.approx((4 + 2 + 0 + 0) / 4 / 4)
    steps = curve(errors, 8, points=801)
    assert sum(share for _, share in steps) / 801 == pytest.approx(errors.area(8), abs=0.01)
    assert Errors((30.0, 30.0)).area(5) == 1
    with pytest.raises(UserError, match="at least one"):
        Errors(())


def test_the_bootstrap_interval_holds_the_area_and_narrows() -> None:
    few, many = Errors(tuple(range(20, 30))), Errors(tuple(range(20, 30)) * 10)
    widths = []
    for errors in (few, many):
        low, high = errors.area_interval(10, draws=400)
        assert low < errors.area(10) < high
        widths.append(high - low)
    assert widths[1] < 0.5 * widths[0]
