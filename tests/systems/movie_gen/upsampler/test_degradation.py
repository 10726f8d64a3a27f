"""The second-order degradation: repeatable, in range, each part against what it must do."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from kinema.systems.movie_gen.upsampler.degradation import (
    Degradation,
    gaussian_noise,
    jpeg,
    poisson_noise,
)
from kinema.systems.movie_gen.upsampler.kernels import bell, filtered, sinc
from tests.systems.movie_gen.upsampler.conftest import smooth_clips


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("settings", [Degradation.published(), Degradation.mild()], ids=["published", "mild"])
def test_a_seed_decides_and_the_range_holds(settings):
    clips = smooth_clips(2, 3, 48)
    results = []
    for seed in range(6):
        made = settings(clips, (24, 20), seeded(seed))
        assert made.shape == (2, 3, 3, 24, 20)
        assert made.min() >= -1
        assert made.max() <= 1
        levels = (made + 1) * 127.5
        torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)  # 8 bits
        assert torch.equal(made, settings(clips, (24, 20), seeded(seed)))
        results.append(made)
    assert all(not torch.equal(results[0], other) for other in results[1:])


def test_a_clip_does_not_depend_on_the_clips_after_it():
    clips = smooth_clips(3, 2, 32)
    settings = Degradation.mild()
    assert torch.equal(settings(clips, (16, 16), seeded())[:2], settings(clips[:2], (16, 16), seeded()))


def test_the_draws_are_of_a_clip_and_only_noise_differs_between_frames():
    still = smooth_clips(1, 1, 48).expand(-1, -1, 6, -1, -1)
    for seed in range(8):
        made = Degradation.mild()(still, (24, 24), seeded(seed))[0].transpose(0, 1)
        between = (made - made.mean(0)).square().mean()
        assert 0 < between < 0.02  # were kernel, size or quality drawn anew, a frame would differ as a whole
    silent = Degradation.mild()
    quiet = [
        type(order)(**{**vars(order), "noise": (0, 0), "gaussian_odds": 1.0})
        for order in (silent.first, silent.second)
    ]
    made = Degradation(first=quiet[0], second=quiet[1], kernel_sizes=(7, 9))(still, (24, 24), seeded())[0]
    assert torch.equal(made[:, :1].expand_as(made), made)


def test_it_is_worse_than_making_small():
    clips = smooth_clips(4, 2, 64)
    small = F.interpolate(clips.flatten(0, 1), (32, 32), mode="area").unflatten(0, (4, 3))
    mild, published = (
        (settings(clips, (32, 32), seeded(1)) - small).square().mean()
        for settings in (Degradation.mild(), Degradation.published())
    )
    assert 1e-4 < mild < published


def test_kernels_are_sums_to_one_of_the_shape_that_was_asked():
    for shape in ("gaussian", "generalized", "plateau"):
        kernel = bell(15, (2.0, 0.7), 0.3, shape, 1.3)
        assert kernel.shape == (15, 15)
        torch.testing.assert_close(kernel.sum(), torch.tensor(1.0))
        torch.testing.assert_close(kernel, kernel.flip(0, 1))  # point symmetry
        round_one = bell(15, (1.5, 1.5), 0.9, shape, 1.3)
        torch.testing.assert_close(round_one, round_one.T)  # the angle of a circle does not matter
    torch.testing.assert_close(bell(15, (2.0, 0.7), 0.0), bell(15, (0.7, 2.0), math.pi / 2))
    gaussian = bell(21, (1.6, 1.6))
    offsets = torch.arange(21.0) - 10
    assert (gaussian.sum(0) * offsets.square()).sum() == pytest.approx(1.6**2, rel=1e-3)  # its variance
    torch.testing.assert_close(bell(9, (1.0, 2.0), 0.4), bell(9, (1.0, 2.0), 0.4, "generalized", 1.0))
    with pytest.raises(ValueError, match="odd"):
        bell(8, (1.0, 1.0))


def test_sinc_lets_low_frequencies_pass_and_stops_high_ones():
    kernel = sinc(21, math.pi / 2)
    columns = torch.arange(64.0)

    def gain(frequency: float) -> float:
        wave = torch.sin(frequency * columns).expand(1, 1, 64, 64)
        inner = (..., slice(12, -12), slice(12, -12))
        return float(filtered(wave, kernel)[inner].std() / wave[inner].std())

    assert gain(0.6) == pytest.approx(1.0, abs=0.1)
    assert gain(2.6) < 0.1


def test_filtering_with_a_pulse_changes_nothing_and_keeps_channels_apart():
    frames = torch.rand(2, 3, 9, 11, generator=seeded())
    pulse = torch.zeros(7, 7)
    pulse[3, 3] = 1
    torch.testing.assert_close(filtered(frames, pulse), frames)
    torch.testing.assert_close(filtered(frames[:, :, :2, :2], pulse), frames[:, :, :2, :2])  # smaller than it
    kernel = bell(5, (1.0, 1.0))
    torch.testing.assert_close(filtered(frames, kernel)[1:, 2:], filtered(frames[1:, 2:], kernel))


def test_noise_has_the_strength_that_was_asked():
    grey = torch.full((8, 3, 64, 64), 0.5)
    assert (gaussian_noise(grey, 0.05, False, seeded()) - grey).std() == pytest.approx(0.05, rel=0.03)
    same = gaussian_noise(grey, 0.05, True, seeded())
    assert torch.equal(same[:, 0], same[:, 2])
    # 256 levels of brightness: a photon count of mean 128 at half brightness, so a deviation of sqrt(128) / 256.
    ramp = torch.linspace(0, 1, 256).view(1, 1, 256, 1).expand(4, 3, 256, 64).clone()
    noise = poisson_noise(ramp, 0.5, False, seeded()) - (ramp * 255).round() / 255
    assert noise[:, :, 120:136].std() == pytest.approx(0.5 * math.sqrt(128) / 256, rel=0.1)
    assert noise[:, :, 16:32].std() < 0.6 * noise[:, :, 120:136].std()


def test_jpeg_loses_more_at_lower_quality():
    frames = smooth_clips(1, 2, 48)[0].transpose(0, 1) / 2 + 0.5
    errors = [(jpeg(frames, quality) - frames).square().mean() for quality in (95, 60, 20)]
    assert 0 < errors[0] < errors[1] < errors[2] < 0.03
