"""Scenes as training data, the recipe on a few of them, and the measures beside known answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from kinema.errors import UserError
from kinema.media.depth import Depth, Intrinsics
from kinema.systems.photo_3d import depth_recipe
from kinema.systems.photo_3d.depth import DepthEstimator
from kinema.systems.photo_3d.depth import load as load_estimator
from kinema.systems.photo_3d.depth_measures import against_stereo, row_prior, scene_errors
from kinema.systems.photo_3d.depth_model import Tiefenrausch, TiefenrauschConfig, fold_norms
from kinema.systems.photo_3d.depth_scenes import FARTHEST, SPLITS, depth_batch, scene
from kinema.systems.photo_3d.depth_weights import load_depth
from kinema.systems.photo_3d.quantised import quantisers
from kinema.systems.photo_3d.textures import artwork, texture
from kinema.systems.photo_3d.upsampling import area_resize, area_weights, guided_upsample
from kinema.train import run_stages

TINY = TiefenrauschConfig(first=8, encoder=(8,) * 5, skip=(8,) * 6, expansion=(1, 1, 1, 1, 1, 1), repeats=1)


# -- scenes -----------------------------------------------------------------------------------------------


def test_a_scene_is_a_pure_function_of_split_and_number():
    picture, truth = scene("train", 5, 48, 64)
    assert (picture.shape, picture.dtype) == ((48, 64, 3), np.uint8)
    assert (truth.shape, truth.dtype) == ((48, 64), np.float32)
    scene("train", 6, 48, 64)
    again, same = scene("train", 5, 48, 64)
    assert (again == picture).all()
    assert (same == truth).all()
    others = [scene("val", 5, 48, 64)[0], scene("train", 7, 48, 64)[0]]
    assert all((other != picture).any() for other in others)


def test_scenes_have_relief_and_nothing_behind_the_sky():
    batch = depth_batch(range(40), "train", 48, 64)
    assert batch.pictures.shape == (40, 3, 48, 64)
    assert (batch.pictures.min() >= 0, batch.pictures.max() <= 1) == (True, True)
    assert batch.disparity.isfinite().all()
    assert batch.disparity.min() >= FARTHEST * 0.9
    assert batch.disparity.max() < 2.5
    logs = batch.disparity.log().flatten(1)
    assert (logs.std(1) > 0.02).float().mean() > 0.9
    # The lower half is nearer on the whole, as in photos, but not always.
    nearer = batch.disparity[:, :, 24:].mean((1, 2, 3)) > batch.disparity[:, :, :24].mean((1, 2, 3))
    assert 0.6 < nearer.float().mean() <= 1.0


def test_things_end_in_steps_of_disparity_where_the_picture_has_edges():
    steps = at_steps = elsewhere = 0.0
    for number in range(20):
        picture, truth = scene("val", number, 64, 64)
        jump = np.abs(np.diff(np.log(truth), axis=1)) > 0.1
        change = np.abs(np.diff(picture.astype(float), axis=1)).mean(2)
        steps += jump.sum()
        at_steps += change[jump].sum()
        elsewhere += change[~jump].mean() / 20
    assert steps > 500
    assert at_steps / steps > 1.5 * elsewhere


def test_other_sizes_and_what_cannot_be():
    assert scene("test", 0, 32, 80)[1].shape == (32, 80)
    with pytest.raises(UserError, match="no split 'trian'"):
        scene("trian", 0)
    with pytest.raises(UserError, match="too small"):
        scene("train", 0, 8, 64)
    assert SPLITS == ("train", "val", "test")


def test_textures_repeat_without_a_seam_and_differ_by_split():
    inside = across = 0.0
    for number in range(0, 64, 5):
        cells = texture("train", number)
        assert (cells.shape, cells.dtype) == ((128, 128, 3), np.float32)
        assert (cells.min() >= 0, cells.max() <= 1) == (True, True)
        inside += np.abs(np.diff(cells, axis=1)).mean()
        across += np.abs(cells[:, 0] - cells[:, -1]).mean()
    assert across < 1.6 * inside
    assert (texture("val", 3) != texture("train", 3)).any()
    assert artwork(3, 16).shape == (16, 16, 4)
    np.testing.assert_allclose(artwork(3, 16).mean(), artwork(3, 64).mean(), rtol=1e-4)


# -- the recipe -------------------------------------------------------------------------------------------


def test_the_loss_is_blind_to_mirroring_when_the_network_is():
    batch = depth_batch(range(4), "train", 32, 64)
    model = nn.Conv2d(3, 1, 1)
    logs = [depth_recipe.depth_loss(model, batch, torch.Generator().manual_seed(k))[1] for k in range(4)]
    values = [float(log["data"]) for log in logs]
    assert values == pytest.approx([values[0]] * 4, rel=1e-4)
    assert (
        len({float(log["gradient"]) for log in logs}) > 1
    )  # some were mirrored: every second pixel is another


def test_both_stages_run_resume_and_leave_an_eight_bit_file(tmp_path, monkeypatch):
    monkeypatch.setattr(depth_recipe, "HEIGHT", 32)
    monkeypatch.setattr(depth_recipe, "WIDTH", 32)
    monkeypatch.setattr(depth_recipe.TiefenrauschConfig, "preset", lambda name: TINY)
    monkeypatch.setattr(depth_recipe, "measured", lambda model, folder: {"error": 1.0})
    made = depth_recipe.recipe()
    assert [stage.name for stage in made.stages] == ["depth", "rounded"]
    for stage in made.stages:
        stage.steps, stage.batch_size, stage.warmup_steps, stage.prefetch = 4, 2, 1, 0
        stage.ema_decay = stage.ema_decay and 0.9
    run_stages(made.stages, tmp_path / "run", device="cpu", progress=False)
    path = made.finish(tmp_path / "run/final")
    network, facts = load_depth(path)
    assert facts == {"trained_on": "layered scenes", "long_side": 32}
    assert load_estimator(path).long_side == 32
    assert load_estimator(path, long_side=64).long_side == 64
    assert all(float(layer.seen) == 1 for layer in quantisers(network))
    trained = made.stages[1].model
    x = depth_batch(range(2), "val", 32, 32).pictures
    torch.testing.assert_close(network(x), trained.eval()(x), atol=2e-3, rtol=1e-3)
    again = depth_recipe.recipe(init=path)
    assert [stage.name for stage in again.stages] == ["rounded"]
    with pytest.raises(UserError, match="leave out --data"):
        depth_recipe.recipe(data=tmp_path)


def test_post_training_eight_bits_leave_the_float_network_alone(monkeypatch):
    monkeypatch.setattr(depth_recipe, "HEIGHT", 32)
    monkeypatch.setattr(depth_recipe, "WIDTH", 32)
    torch.manual_seed(0)
    trained = Tiefenrausch(TINY)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    rounded = depth_recipe.post_training(trained, batches=1)
    assert {layer.mode for layer in quantisers(rounded)} == {"round"}
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


# -- measures ---------------------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Answers with what it was told, whatever it sees."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, pictures):
        return self.answer


def test_scene_errors_of_known_answers():
    batch = depth_batch(range(6), "val", 32, 48)
    found = scene_errors(Oracle(batch.disparity.log() + 3), [batch])
    assert found["error"] == pytest.approx(0.0, abs=1e-3)
    assert found["vertical"] < found["constant"]
    logs = batch.disparity.log().flatten(1)
    assert found["constant"] == pytest.approx(float(logs.std(1, correction=0).mean()), rel=1e-4)
    with_prior = scene_errors(Oracle(batch.disparity.log()), [batch], row_prior(32, 48, 32))
    assert found["vertical"] < with_prior["vertical"]  # the line is fitted to each picture, the prior is not
    with pytest.raises(UserError, match="no scenes"):
        scene_errors(Oracle(batch.disparity), [])


def test_against_stereo_of_a_true_and_a_false_estimate():
    rows = np.linspace(10, 60, 64, dtype=np.float32)[:, None] + np.zeros((1, 96), np.float32)
    rows[:4] = np.nan
    truth = Depth(rows, "disparity_px", Intrinsics(focal=1000.0, baseline=0.2, doffs=30.0))
    estimator = DepthEstimator(fold_norms(Tiefenrausch(TINY).eval()), long_side=64)
    photo = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    estimator.estimate = lambda photo: Depth(np.nan_to_num(rows + 30, nan=9.0) * 2, "relative_disparity")
    right = against_stereo(estimator, photo, truth)
    assert (right.correlation, right.r2) == (pytest.approx(1.0), pytest.approx(1.0, abs=1e-6))
    assert right.abs_rel == pytest.approx(0.0, abs=1e-4)
    assert right.log_error == pytest.approx(0.0, abs=1e-3)
    assert 0.1 < right.abs_rel_constant < 0.5
    estimator.estimate = lambda photo: Depth(photo[..., 0].astype(np.float32) + 1, "relative_disparity")
    wrong = against_stereo(estimator, photo, truth)
    assert abs(wrong.correlation) < 0.2
    assert wrong.r2 < 0.05


# -- sizes ------------------------------------------------------------------------------------------------


def test_area_resize_is_the_mean_of_the_area():
    pixels = np.random.default_rng(1).integers(0, 255, (24, 36, 3), np.uint8)
    want = np.rint(pixels.reshape(8, 3, 12, 3, 3).mean((1, 3)))
    assert np.abs(area_resize(pixels, 8, 12).astype(int) - want).max() <= 1  # ties round either way
    weights = area_weights(1024, 384)
    np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(0), 384 / 1024, rtol=1e-4)
    assert (area_resize(np.full((70, 50, 3), 201, np.uint8), 32, 41) == 201).all()


def test_area_resize_does_not_care_how_the_rows_are_cut(monkeypatch):
    pixels = np.random.default_rng(2).integers(0, 255, (150, 40, 3), np.uint8)
    whole = area_resize(pixels, 64, 32).astype(int)
    monkeypatch.setattr("kinema.systems.photo_3d.upsampling.STRIP", 7)
    assert np.abs(area_resize(pixels, 64, 32) - whole).max() <= 1


def test_guided_upsampling_follows_the_photos_edge():
    photo = np.zeros((96, 128, 3), np.uint8)
    photo[:, 50:] = 220  # not on the border of a cell of eight pixels
    small = np.full((12, 16), 0.2, np.float32)
    small[:, 6:] = 0.9  # cell 6 covers columns 48 to 55
    large = guided_upsample(small, photo)
    assert (large.shape, large.dtype) == ((96, 128), np.float32)
    assert large[:, :48].max() < 0.3
    assert large[:, 51:].min() > 0.8
    plain = guided_upsample(small, np.zeros((96, 128, 3), np.uint8))
    assert 0.25 < plain[48, 47] < 0.85  # without a guide it is a soft ramp


def test_guided_upsampling_stays_within_the_range_and_keeps_constants():
    photo = np.random.default_rng(3).integers(0, 255, (70, 101, 3), np.uint8)
    small = np.random.default_rng(4).random((12, 16), np.float32)
    large = guided_upsample(small, photo)
    assert small.min() - 1e-6 <= large.min() <= large.max() <= small.max() + 1e-6
    np.testing.assert_allclose(guided_upsample(np.full((12, 16), 0.4, np.float32), photo), 0.4, rtol=1e-5)
    with pytest.raises(UserError, match="larger than its photo"):
        guided_upsample(np.zeros((80, 16), np.float32), photo)
    with pytest.raises(UserError, match="not finite"):
        guided_upsample(np.full((8, 8), np.nan, np.float32), photo)


SIZES = [
    ((768, 1024), (288, 384)),
    ((741, 500), (384, 256)),
    ((1024, 768), (384, 288)),
    ((16, 64), (96, 384)),
    ((2000, 16), (384, 32)),
]


@pytest.mark.parametrize(("size", "want"), SIZES)
def test_the_size_that_the_network_sees(size, want):
    estimator = DepthEstimator(fold_norms(Tiefenrausch(TINY).eval()))
    assert estimator.network_size(*size) == want


def test_estimates_have_the_photos_size_and_say_what_they_are():
    estimator = DepthEstimator(fold_norms(Tiefenrausch(TINY).eval()), long_side=64, weights_hash="abc")
    photo = np.random.default_rng(5).integers(0, 255, (90, 120, 3), np.uint8)
    found = estimator.estimate(photo)
    assert (found.values.shape, found.kind, found.large_is) == ((90, 120), "relative_disparity", "near")
    assert found.metadata["kinema"].weights_hash == "abc"
    assert estimator.estimate(photo, size="network").values.shape == (32, 64)
    assert estimator.estimate(photo[:20, :20]).values.shape == (20, 20)  # smaller than the network sees it
    with pytest.raises(UserError, match="expected uint8"):
        estimator.estimate(photo.astype(np.float32))
    with pytest.raises(UserError, match="long_side=50"):
        DepthEstimator(fold_norms(Tiefenrausch(TINY)), long_side=50)
    assert dataclasses.replace(TINY, norm="bias") == estimator.network.config
