"""Training to fill holes: masks as lifting makes them, a loss that sees the holes alone, and a run that learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from PIL import Image

from kinema.errors import UserError
from kinema.systems.photo_3d.inpainting import Farbrausch, FarbrauschConfig, load_inpainting
from kinema.systems.photo_3d.inpainting_recipe import (
    SIDE,
    Holes,
    draw_hole,
    guessed,
    hole_loss,
    hole_stage,
    read_photos,
    recipe,
)
from kinema.train import run_stages

SMALL = FarbrauschConfig(widths=(8, 8, 8), kernels=(5, 3, 3))


def photo(height: int = 150, width: int = 170) -> np.ndarray:
    y, x = np.indices((height, width))
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], 2)
    return ((waves + 1) * 127).astype(np.uint8)


def test_holes_are_bands_and_strokes():
    rng = np.random.default_rng(0)
    holes = [draw_hole(64, rng) for _ in range(60)]
    for known, wanted in holes:
        assert wanted.any()
        assert not (known & wanted).any()
        assert (~known).mean() <= 0.7
    neither = [(~known & ~wanted).any() for known, wanted in holes]
    assert 5 < sum(neither) < 55  # the insides of objects


def test_a_sample_follows_from_its_number():
    source = Holes([photo()], side=64)
    one, two, other = source.batch(range(2, 4), 0), source.batch(range(3, 5), 0), source.batch(range(3, 5), 1)
    assert torch.equal(one.pixels[1], two.pixels[0])
    assert torch.equal(one.known[1], two.known[0])
    assert not torch.equal(two.pixels, other.pixels)
    assert one.pixels.shape == (2, 3, 64, 64)
    assert one.pixels.abs().max() <= 1


def test_a_guess_follows_what_is_there():
    """Colours reach round what is missing, never through it."""
    crop = np.zeros((5, 9, 3), np.float32)
    crop[:, :2], crop[:, 7:] = -1, 1
    wanted = np.zeros((5, 9), np.bool_)
    wanted[:, 2:4] = wanted[:, 5:7] = True  # column 4 is missing
    known = np.zeros_like(wanted)
    known[:, :2] = known[:, 7:] = True
    guess = guessed(crop, known, wanted)
    np.testing.assert_allclose(guess[:, :4], -1, atol=1e-6)
    np.testing.assert_allclose(guess[:, 5:], 1, atol=1e-6)


def test_what_no_one_wants_costs_nothing():
    batch = Holes([photo()], side=64).batch(range(8), 0)
    neither = (1 - batch.known) * (1 - batch.wanted)
    assert neither.any()

    class Oracle(torch.nn.Module):
        def forward(self, known, guess, there):
            return torch.where(neither > 0, torch.randn_like(guess), batch.pixels)

    loss, logs = hole_loss(Oracle(), batch, torch.Generator())
    assert float(logs["hole"]) == float(logs["valid"]) == float(logs["features"]) == 0.0
    assert float(loss) < 0.1  # the truth's own variation


def test_a_short_run_learns(tmp_path):
    torch.manual_seed(0)
    network = Farbrausch(SMALL)
    with torch.no_grad():
        network.head.weight.mul_(20)  # away from diffusion, which is hard to beat at waves
    stage = hole_stage(network, [photo()], steps=30, batch_size=2)
    stage.lr, stage.batches = 5e-3, Holes([photo()], side=64)
    stage.validate = None
    batch = stage.batches.batch(range(8), 5)
    before = hole_loss(network.train(), batch, torch.Generator())[0].item()
    run_stages([stage], tmp_path / "run", device="cpu", progress=False)
    after = hole_loss(network.train(), batch, torch.Generator())[0].item()
    assert after < 0.9 * before


def test_a_recipe_of_a_folder(tmp_path):
    Image.fromarray(photo()).save(tmp_path / "a.png")
    Image.fromarray(photo(40, 40)).save(tmp_path / "small.png")
    made = recipe(data=tmp_path)
    assert len(made.stages) == 1
    path = made.finish(tmp_path)
    assert load_inpainting(path).config == FarbrauschConfig()
    recipe(data=tmp_path, init=path)


def test_folders_without_photos_are_refused(tmp_path):
    with pytest.raises(UserError, match="no photo of at least"):
        read_photos(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        read_photos(tmp_path / "none")


def test_photos_of_packages_are_large_enough_and_motorcycle_is_not_among_them():
    data = pytest.importorskip("skimage.data")
    photos = read_photos()
    assert len(photos) >= 4
    assert all(min(p.shape[:2]) >= SIDE for p in photos)
    left = data.stereo_motorcycle()[0]
    assert not any(p.shape == left.shape and np.array_equal(p, left) for p in photos)
