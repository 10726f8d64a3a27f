"""Changes of pictures against torchvision's, and that chance is the caller's alone."""

from __future__ import annotations

import pytest
import torch

from kinema.data import image_ops as ours
from kinema.data.augment import (
    AUTO,
    RAND,
    RAND_DEPTH,
    auto_augment,
    colour_jitter,
    rand_augment,
    random_erasing,
)
from kinema.errors import UserError
from tests.parity import peer


def picture(seed=0, channels=3, frames=None):
    generator = torch.Generator().manual_seed(seed)
    shape = (channels, 17, 23) if frames is None else (channels, frames, 17, 23)
    return torch.randint(0, 256, shape, generator=generator).float() / 255


@pytest.mark.parametrize(
    ("name", "theirs", "amounts"),
    [
        ("brightness", "adjust_brightness", (0.0, 0.4, 1.0, 1.7)),
        ("contrast", "adjust_contrast", (0.0, 0.4, 1.0, 1.7)),
        ("saturation", "adjust_saturation", (0.0, 0.4, 1.0, 1.7)),
        ("hue", "adjust_hue", (-0.5, -0.2, 0.0, 0.3)),
        ("sharpness", "adjust_sharpness", (0.0, 0.4, 1.0, 1.7)),
        ("solarise", "solarize", (0.0, 0.5, 1.0)),
    ],
)
def test_colours_change_as_torchvision_changes_them(name, theirs, amounts):
    functional = peer("torchvision.transforms.v2.functional")
    for seed, amount in enumerate(amounts):
        x = picture(seed)
        found, want = getattr(ours, name)(x, amount), getattr(functional, theirs)(x, amount)
        torch.testing.assert_close(found, want, atol=1e-5, rtol=0)


def test_changes_of_eight_bits_are_exact():
    functional = peer("torchvision.transforms.v2.functional")
    for seed in range(5):
        x = picture(seed) ** (seed + 1)
        eight = (x * 255).round().to(torch.uint8)
        x = eight.float() / 255
        for found, want in (
            (ours.equalise(x), functional.equalize(eight)),
            (ours.posterise(x, 3), functional.posterize(eight, 3)),
            (ours.invert(x), functional.invert(eight)),
        ):
            torch.testing.assert_close(found * 255, want.float(), atol=1e-3, rtol=0)
        torch.testing.assert_close(ours.autocontrast(x), functional.autocontrast(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [-30.0, 12.0, 90.0])
def test_turns_are_torchvisions(degrees):
    functional = peer("torchvision.transforms.v2.functional")
    x = picture()
    want = functional.rotate(x, degrees, functional.InterpolationMode.BILINEAR, fill=[ours.FILL] * 3)
    found = ours.rotate(x, degrees)
    inside = (
        slice(None),
        slice(6, -6),
        slice(8, -8),
    )  # at the rim torchvision mixes the filling in otherwise
    torch.testing.assert_close(found[inside], want[inside], atol=1e-4, rtol=0)


def test_shears_and_shifts_move_what_they_should():
    x = torch.zeros(3, 8, 8)
    x[:, :, 3] = 1
    shifted = ours.translate(x, 0.25, 0.0)
    assert shifted[0, 4].argmax() == 1
    assert shifted[0, 4, -1] == ours.FILL
    sheared = ours.shear(x, 0.5, 0.0)[0]
    assert (sheared[7].argmax() - sheared[2].argmax()).abs() >= 2
    for still in (ours.translate(x, 0.0, 0.0), ours.shear(x, 0.0, 0.0), ours.rotate(x, 0.0)):
        torch.testing.assert_close(still, x)


def test_frames_change_alike_and_depth_only_moves():
    clip = picture(frames=1).expand(3, 4, 17, 23)
    for change in (rand_augment, auto_augment, colour_jitter):
        for seed in range(20):
            done = change(clip, torch.Generator().manual_seed(seed))
            torch.testing.assert_close(done, done[:, :1].expand_as(done), atol=1e-6, rtol=0)
            assert 0 <= done.min() <= done.max() <= 1
    four = picture(channels=4)
    for name in ("brightness", "contrast", "saturation", "hue", "sharpness", "solarise"):
        done = getattr(ours, name)(four, 0.3)
        assert torch.equal(done[3], four[3])
        assert not torch.equal(done[:3], four[:3])
    moved = ours.rotate(four, 20.0)
    torch.testing.assert_close(moved[3], ours.rotate(four[3:].expand(3, -1, -1), 20.0)[0])


def test_chance_is_the_callers_alone():
    x = picture()
    before = torch.get_rng_state()
    for change in (rand_augment, auto_augment, colour_jitter, lambda y, g: random_erasing(y, g, 1.0)):
        one, again = (change(x, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(one, again)
        drawn = {float(change(x, torch.Generator().manual_seed(seed)).sum()) for seed in range(12)}
        assert len(drawn) > 4
    assert torch.equal(torch.get_rng_state(), before)


def test_erasing_takes_one_rectangle_as_often_as_asked():
    x = torch.full((3, 2, 20, 20), 7.0)
    erased = 0
    for seed in range(200):
        done = random_erasing(x, torch.Generator().manual_seed(seed))
        hole = done[0, 0] != 7
        erased += bool(hole.any())
        if hole.any():
            rows, columns = hole.any(1).nonzero()[:, 0], hole.any(0).nonzero()[:, 0]
            assert hole.sum() == len(rows) * len(columns)
            assert 0.01 < hole.float().mean() < 0.4
            assert torch.equal(done[2, 1] != 7, hole)
    assert 30 < erased < 70
    assert (x == 7).all()


def test_policies_are_whole_and_wrong_settings_are_refused():
    assert len(AUTO) == 25
    assert len(RAND) == 15
    assert set(RAND_DEPTH) - {"identity"} <= set(RAND)
    x, generator = picture(), torch.Generator().manual_seed(0)
    assert torch.equal(rand_augment(x, generator, ops=0), x)
    assert torch.equal(rand_augment(x, generator, names=("identity",)), x)
    with pytest.raises(UserError, match="magnitude=11"):
        rand_augment(x, generator, magnitude=11)
    with pytest.raises(UserError, match="no operation 'melt'"):
        rand_augment(x, generator, names=("melt",))
