"""Accuracy with its interval, and tables of mistakes."""

import math

import pytest

from kinema.errors import UserError
from kinema.eval.judged import accuracy, confusions, wilson_interval, worst_confusions


def test_wilson_bounds_solve_the_score_equation():
    # The bounds are the shares p at which the observed share lies z standard errors of p away.
    z = 1.959964
    for right, total in ((1, 10), (37, 50), (499, 512)):
        for bound in wilson_interval(right, total, z):
            error = math.sqrt(bound * (1 - bound) / total)
            assert abs(right / total - bound) == pytest.approx(z * error, rel=1e-9)


def test_wilson_stays_within_zero_and_one_and_tightens():
    assert wilson_interval(0, 20)[0] == 0.0
    assert wilson_interval(20, 20)[1] == 1.0
    assert wilson_interval(0, 20)[1] > 0.1
    low, high = wilson_interval(50, 100)
    wide_low, wide_high = wilson_interval(5, 10)
    assert high - low < wide_high - wide_low
    assert low + high == pytest.approx(1.0)


def test_accuracy_counts_answers_that_match():
    result = accuracy(["a", "b", "c", "a"], ["a", "b", "a", "a"])
    assert (result.right, result.total, result.share) == (3, 4, 0.75)
    assert result.low < 0.75 < result.high
    assert str(result).startswith("75.0 [")


def test_accuracy_refuses_what_cannot_be_compared():
    with pytest.raises(UserError, match="2 answers for 1 truths"):
        accuracy(["a", "b"], ["a"])
    with pytest.raises(UserError, match="0 right of 0"):
        accuracy([], [])


def test_confusions_hold_every_answer_once():
    answers, truths = ["a", "b", "b", "a", "b"], ["a", "a", "b", "a", "a"]
    table = confusions(answers, truths)
    assert table == {"a": {"a": 2, "b": 2}, "b": {"b": 1}}
    assert worst_confusions(answers, truths) == [("a", "b", 2)]
