"""Preprocessing: torchvision's transforms on the same pictures, its inverse, and pictures that do not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from kinema.errors import UserError
from tests.parity import assert_parity, peer


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (33, 33), (20, 100)])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_it_equals_torchvision(fit: str, shape: tuple[int, int]) -> None:
    transforms = peer("torchvision").transforms
    bicubic = transforms.InterpolationMode.BICUBIC
    theirs = transforms.Compose(
        [
            transforms.Resize(36 if fit == "crop" else (32, 32), interpolation=bicubic),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    ours = Preprocessing(size=32, fit=fit, resize=36 if fit == "crop" else None)
    pixels = picture(*shape)
    assert_parity(ours.image(pixels), theirs(Image.fromarray(pixels)), 1e-6)


def test_clips_and_the_way_back() -> None:
    settings = Preprocessing(size=16)
    frames = np.stack([picture(20, 30, seed) for seed in range(3)])
    clip = settings.clip(frames)
    assert clip.shape == (3, 3, 16, 16)
    assert torch.equal(clip[:, 1], settings.image(frames[1]))
    pixels = settings.pixels(clip[None])
    assert 0 <= pixels.min() <= pixels.max() <= 1 + 1e-6
    torch.testing.assert_close(settings.normalise(pixels[0, :, 1]), clip[:, 1])


def test_settings_travel_and_are_checked() -> None:
    settings = Preprocessing(size=512, fit="stretch")
    assert Preprocessing.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert settings.image(picture(1, 1)).shape == (3, 512, 512)
    with pytest.raises(UserError, match="as large"):
        Preprocessing(size=224, resize=200)
    with pytest.raises(UserError, match="crop it first"):
        Preprocessing().image(np.zeros((1, 4000, 3), np.uint8))
