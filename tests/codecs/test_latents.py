from __future__ import annotations

import pytest
import torch

from kinema.codecs import LatentSpec
from kinema.errors import UserError


def test_normalise_has_the_statistics_asked_for_and_an_inverse():
    spec = LatentSpec((4, 8, 8), 2, mean=[1.0, -2.0], std=[0.5, 4.0])
    raw = torch.randn(3, 2, 2, 4, 4)
    latent = spec.normalise(raw)
    assert torch.allclose(latent[:, 1], (raw[:, 1] + 2.0) / 4.0)
    assert torch.allclose(spec.denormalise(latent), raw, atol=1e-6)


def test_statistics_travel_in_the_state_dict():
    spec = LatentSpec((1, 8, 8), 3, mean=0.25, std=2.0)
    other = LatentSpec((1, 8, 8), 3)
    other.load_state_dict(spec.state_dict())
    assert other.mean.tolist() == [0.25] * 3
    assert other.std.tolist() == [2.0] * 3


@pytest.mark.parametrize(("frames", "latent_frames"), [(1, 1), (8, 1), (9, 2), (13, 2), (16, 2), (17, 3)])
def test_latent_frames_are_rounded_up(frames: int, latent_frames: int):
    spec = LatentSpec((8, 8, 8), 16)
    assert spec.latent_shape(frames, 64, 96) == (16, latent_frames, 8, 12)
    assert spec.num_frames(latent_frames, frames) == frames


@pytest.mark.parametrize("wanted", [0, 8, 17])
def test_frames_that_the_latent_does_not_hold_are_refused(wanted: int):
    with pytest.raises(UserError, match="2 latent frames decode to 9 to 16 frames"):
        LatentSpec((8, 8, 8), 16).num_frames(2, wanted)


def test_sizes_that_do_not_fit_are_refused_with_the_multiples():
    with pytest.raises(UserError, match=r"60x64 .*multiple of 8 .*multiple of 16.*64x64"):
        LatentSpec((4, 8, 16), 16).latent_shape(16, 60, 64)
    with pytest.raises(UserError, match="at least one"):
        LatentSpec((4, 8, 8), 16).latent_shape(0, 64, 64)


def test_bad_statistics_are_refused():
    with pytest.raises(ValueError, match="4 latent channels"):
        LatentSpec((1, 8, 8), 4, mean=[0.0] * 3)
    with pytest.raises(ValueError, match="above zero"):
        LatentSpec((1, 8, 8), 4, std=0.0)
