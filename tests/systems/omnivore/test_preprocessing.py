"""Pixels and disparity as the released evaluation has them, step by step with torchvision's own transforms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kinema.errors import UserError
from kinema.media.depth import Depth, Intrinsics
from kinema.systems.omnivore.preprocessing import (
    RELEASED,
    TRAINING,
    OmnivorePreprocessing,
    sun_disparity,
)
from tests.parity import assert_parity, peer

SMALL = dataclasses.replace(RELEASED, picture=dataclasses.replace(RELEASED.picture, size=32))
RANDOM = np.random.default_rng(0)


def picture(height: int, width: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(300, 261), (226, 500), (90, 70), (1, 1)])
def test_rgbd_is_the_released_evaluation(size):
    transforms = peer("torchvision.transforms")
    pixels = picture(*size)
    disparity = (200 * RANDOM.random(size) - 20).astype(np.float32)
    both = torch.cat([torch.from_numpy(pixels).permute(2, 0, 1) / 255, torch.from_numpy(disparity)[None]])
    both[3] = both[3].clamp(0.01, 75) / 75
    steps = transforms.Compose(
        [
            transforms.Resize(224),
            transforms.CenterCrop(224),
            transforms.Normalize([0.485, 0.456, 0.406, 0.0418], [0.229, 0.224, 0.225, 0.0295]),
        ]
    )
    want = steps(both)
    assert_parity(RELEASED.rgbd(pixels, disparity)[:, 0], want, 2e-5)


@pytest.mark.parametrize("size", [(300, 261), (226, 500)])
def test_images_are_the_released_evaluation(size):
    transforms = peer("torchvision.transforms")
    from PIL import Image

    pixels = picture(*size)
    steps = transforms.Compose(
        [
            transforms.Resize(224),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    assert_parity(RELEASED.image(pixels)[:, 0], steps(Image.fromarray(pixels)))


def test_the_training_configuration_leaves_disparity_as_it_is():
    pixels, disparity = picture(224, 224), np.full((224, 224), 30.0, np.float32)
    assert float(TRAINING.rgbd(pixels, disparity)[3].mean()) == pytest.approx(30 / 75)
    assert float(RELEASED.rgbd(pixels, disparity)[3].mean()) == pytest.approx(
        (0.4 - 0.0418) / 0.0295, rel=1e-5
    )
    assert torch.equal(TRAINING.rgbd(pixels, disparity)[:3], RELEASED.rgbd(pixels, disparity)[:3])


def test_unknown_disparity_is_the_largest_and_depth_alone_has_colours_of_zero():
    disparity = np.full((40, 40), 10.0, np.float32)
    disparity[:, :20] = np.nan
    out = TRAINING.depth_only(disparity)
    assert out.shape == (4, 1, 224, 224)
    assert not out[:3].any()
    assert float(out[3, 0, 100, 5]) == 1.0
    assert float(out[3, 0, 100, 220]) == pytest.approx(10 / 75)


def test_a_video_is_four_clips_by_three_squares():
    """pytorchvideo's steps: evenly spread frames, short side, clips of 32 every 40, both ends and the middle."""
    frames = RANDOM.integers(0, 256, (170, 40, 71, 3), dtype=np.uint8)
    got = SMALL.views(frames)
    assert got.shape == (12, 3, 32, 32, 32)
    chosen = torch.linspace(0, 169, 160).clamp(0, 169).long()
    clip = torch.from_numpy(frames[chosen.numpy()]).permute(3, 0, 1, 2).float() / 255
    clip = F.interpolate(clip, (32, 56), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    clip = (clip - mean) / std
    number = 0
    for start in (0, 40, 80, 120):
        for left in (0, 12, 24):
            assert_parity(got[number], clip[:, start : start + 32, :, left : left + 32])
            number += 1
    tall = SMALL.views(frames[:5].transpose(0, 2, 1, 3))
    assert torch.equal(tall[1], tall[1].clone())
    assert_parity(tall[0], SMALL.views(frames[:5])[0].transpose(2, 3))


@pytest.mark.parametrize("number", [1, 5, 32, 100])
def test_a_clip_of_any_length_has_32_frames(number):
    frames = RANDOM.integers(0, 256, (number, 33, 47, 3), dtype=np.uint8)
    clip = SMALL.clip(frames)
    assert clip.shape == (3, 32, 32, 32)
    if number == 1:
        assert torch.equal(clip[:, :1].expand_as(clip), clip)
    first, last = SMALL.clip(frames[:1])[:, 0], SMALL.clip(frames[-1:])[:, 0]
    assert_parity(clip[:, 0], first)
    assert_parity(clip[:, -1], last)


def test_disparity_of_suns_cameras():
    metres = np.array([[1.0, 2.0, np.nan], [0.0001, 100.0, 4.0]], np.float32)
    depth = Depth(metres, "depth_m", Intrinsics(focal=520.0))
    stored = sun_disparity(depth)
    assert stored[0, :2].tolist() == pytest.approx([0.075 * 520 / 8, 0.075 * 520 / 16])
    assert np.isnan(stored[0, 2])
    assert stored[1].tolist() == pytest.approx([0.075 * 520 / 0.01, 0.075 * 520 / 50, 0.075 * 520 / 32])
    assert sun_disparity(depth, baseline=0.095, metre=1)[0, 1] == pytest.approx(0.095 * 260)
    pair = Depth(np.full((2, 2), 26.0, np.float32), "disparity_px", Intrinsics(focal=520.0, baseline=0.1))
    assert sun_disparity(pair)[0, 0] == pytest.approx(0.075 * 520 / 16)  # two metres away


def test_depth_that_has_no_scale_or_camera():
    flat = np.ones((2, 2), np.float32)
    with pytest.raises(UserError, match="relative disparity has no scale"):
        sun_disparity(Depth(flat, "relative_disparity"))
    with pytest.raises(UserError, match="focal length is not known"):
        sun_disparity(Depth(flat, "depth_m"))


def test_inputs_and_settings_that_cannot_be():
    assert OmnivorePreprocessing.from_dict(TRAINING.to_dict()) == TRAINING
    with pytest.raises(UserError, match="must be of one size"):
        RELEASED.rgbd(picture(4, 4), np.ones((4, 5), np.float32))
    with pytest.raises(UserError, match="not empty"):
        RELEASED.clip(np.zeros((0, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="too thin a strip"):
        RELEASED.clip(np.zeros((1, 1, 400_000, 3), np.uint8))
    with pytest.raises(UserError, match="too thin a strip"):
        RELEASED.rgbd(np.zeros((1, 400_000, 3), np.uint8), np.zeros((1, 400_000), np.float32))
    with pytest.raises(UserError, match="depth_std"):
        OmnivorePreprocessing(depth_std=0)
    with pytest.raises(UserError, match="are not in 160"):
        OmnivorePreprocessing(frames=200)
