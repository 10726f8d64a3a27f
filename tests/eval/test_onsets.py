from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.eval.onsets import OnsetScore, score_clips, score_onsets
from kinema.world.sound.matching import match_times

times = st.lists(st.integers(0, 40).map(lambda k: k / 100), max_size=6)


def largest_by_trying(reference: list[float], detected: list[float], tolerance: float) -> int:
    """The size of the largest one-to-one matching, by trying every order."""
    short, long = sorted((reference, detected), key=len)
    return max(
        sum(abs(a - b) <= tolerance + 1e-9 for a, b in zip(short, order))
        for order in permutations(long, len(short))
    )


@settings(max_examples=150, deadline=None)
@given(times, times, st.sampled_from([0.0, 0.01, 0.04, 0.1]))
def test_the_matching_is_one_to_one_and_largest(reference, detected, tolerance):
    pairs = match_times(reference, detected, tolerance)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(abs(reference[i] - detected[j]) <= tolerance + 1e-9 for i, j in pairs)
    assert len(pairs) == largest_by_trying(reference, detected, tolerance)


def test_hand_cases():
    score = score_onsets([0.5, 1.0, 1.5], [0.53, 1.05, 1.46, 1.9])
    assert (score.hits, score.references, score.detections) == (2, 3, 4)  # 1.05 is 50 ms late
    assert score.precision == pytest.approx(2 / 4)
    assert score.recall == pytest.approx(2 / 3)
    assert score.f1 == pytest.approx(4 / 7)
    assert score.mean_error == pytest.approx((0.03 + 0.04) / 2)


def test_two_detections_of_one_onset_count_once():
    score = score_onsets([1.0], [0.99, 1.01])
    assert (score.hits, score.precision, score.recall) == (1, 0.5, 1.0)


def test_a_nearest_neighbour_choice_would_lose_a_pair():
    assert score_onsets([1.0, 1.04], [1.03, 1.08]).hits == 2  # 1.03 is nearest to 1.04, which 1.08 needs


def test_the_tolerance_is_inclusive_and_symmetric():
    assert score_onsets([1.0, 2.0], [1.04, 1.96]).hits == 2
    assert score_onsets([1.0, 2.0], [1.041, 1.959]).hits == 0


def test_nothing_to_divide_by_is_zero():
    for reference, detected in (([], []), ([1.0], []), ([], [1.0])):
        score = score_onsets(reference, detected)
        assert score.precision == score.recall == score.f1 == 0.0


def test_perfect_is_one_and_order_does_not_matter():
    assert score_onsets([0.1, 0.9, 0.4], [0.4, 0.1, 0.9]).f1 == 1.0


def test_f1_is_the_harmonic_mean():
    score = score_onsets([0.1, 0.5, 0.9, 1.3], [0.1, 0.5, 0.7])
    assert score.f1 == pytest.approx(2 / (1 / score.precision + 1 / score.recall))


def test_clips_pool_their_counts():
    clips = [([0.5], [0.5]), ([0.2, 0.8], [0.5])]
    total = score_clips(clips)
    assert total == OnsetScore(hits=1, references=3, detections=2)
    assert score_clips([]).f1 == 0.0


def test_a_negative_tolerance_is_refused():
    with pytest.raises(UserError, match="tolerance"):
        score_onsets([1.0], [1.0], -0.01)
