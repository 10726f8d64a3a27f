"""The recipe and the file that it writes: data, a loss that falls, a run that resumes, and what `load` refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kinema import hub
from kinema.errors import UserError
from kinema.systems.early_conv import recipe as recipes
from kinema.systems.early_conv import sources
from kinema.systems.early_conv.model import PRESETS, EarlyConvConfig, build
from kinema.systems.early_conv.pipeline import load
from kinema.systems.early_conv.recipe import Labelled, measure_norms, recipe, smoothed_loss
from kinema.systems.early_conv.sources import OwnPictures
from kinema.train import Stage, run_stages
from kinema.vision import VisionFile, save_vision
from kinema.world.pictures import pictures

TINY = EarlyConvConfig(
    dim=16, depth=1, num_heads=2, mlp_ratio=2, widths=(8, 16), strides=(2, 2), patch=8, image_size=32, num_classes=3
)  # fmt: skip
COLOURS = {"blue": (30, 40, 220), "green": (40, 200, 60), "red": (230, 30, 30)}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nano_c` is a network of a few thousand weights."""
    monkeypatch.setitem(PRESETS, "nano_c", TINY)
    monkeypatch.setattr(sources, "HELD_OUT", 8)
    monkeypatch.setattr(recipes, "RECALIBRATION", 2)


def paint(folder: Path, each: int = 12) -> Path:
    """Pictures of a colour each, in a subfolder named as the colour."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for k in range(each):
            pixels = np.clip(rng.normal(colour, 40, (40, 60, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    return folder


def short(stage: Stage, steps: int = 4, batch_size: int = 8) -> Stage:
    stage.steps, stage.batch_size, stage.warmup_steps, stage.lr = steps, batch_size, 1, 1e-2
    stage.checkpoint_every = 2
    return stage


def test_a_folder_of_the_users_own(tiny: None, tmp_path: Path) -> None:
    folder = paint(tmp_path / "colours")
    made = recipe(data=folder)
    stage = short(made.stages[0], steps=60)
    run_stages([stage], tmp_path / "run", device="cpu", progress=False)
    see = load(made.finish(tmp_path))
    assert see.labels == {"image": tuple(COLOURS)}
    guesses = [see.classify(folder / name / "0.png", top=1)[0].label for name in COLOURS]
    assert guesses == list(COLOURS)
    assert see.embed([folder / "red" / "1.png"]).shape == (1, 16)
    # A second run of the same starts from it; other classes get a head of their own.
    assert recipe(data=folder, init=tmp_path / "model.safetensors").stages[0].model.head.weight.any()
    other = recipe(init=tmp_path / "model.safetensors").stages[0].model
    assert other.head.weight.shape == (22, 16)
    assert not other.head.weight.any()
    assert torch.equal(other.norm.weight, see.network.norm.weight)
    with pytest.raises(UserError, match="not of the size nano_p"):
        recipe(preset="nano_p", init=tmp_path / "model.safetensors")


def test_the_loss_falls_on_the_small_world_and_a_run_resumes(tiny: None, tmp_path: Path) -> None:
    def run(folder: str, *lengths: int) -> nn.Module:
        for length in lengths:
            stage = short(recipe(seed=3).stages[0])
            whole, stage.steps = stage.steps, length
            stage.schedule = "constant"  # a cosine would end with the shorter run
            run_stages([stage], tmp_path / folder, seed=3, device="cpu", progress=False)
        assert length == whole
        return stage.model

    one, two = run("whole", 4), run("parts", 2, 4)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name

    stage = short(recipe().stages[0], steps=12)
    batch = stage.batches(stage.microbatch(0, 0, rank=0, world=1, seed=0))
    assert batch.images.shape == (8, 3, 32, 32)
    assert 0 <= batch.labels.min() <= batch.labels.max() < 22
    stage.batches = lambda index: batch
    losses = [
        smoothed_loss(stage.model.train(), batch, torch.Generator().manual_seed(k))[0].item()
        for k in range(4)
    ]
    run_stages([stage], tmp_path / "falls", device="cpu", progress=False)
    after = [
        smoothed_loss(stage.model.train(), batch, torch.Generator().manual_seed(k))[0].item()
        for k in range(4)
    ]
    assert sum(after) < 0.95 * sum(losses)


def test_mixing_keeps_the_sum_of_a_target() -> None:
    class Fixed(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(images), 5)

    batch = Labelled(torch.randn(6, 3, 8, 8), torch.arange(6) % 5, 5)
    loss, _ = smoothed_loss(Fixed(), batch, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(np.log(5), abs=1e-5)


def test_norms_are_measured_with_the_weights_as_they_are() -> None:
    network = build(TINY)
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    measure_norms(network, images.split(8))
    first = network.stem.layers[0]
    given = first.conv(images)
    assert torch.allclose(first.norm.running_mean, given.mean((0, 2, 3)), atol=1e-5)
    assert first.norm.momentum == 0.1
    assert not network.training


def test_a_file_travels_and_is_known(tmp_path: Path) -> None:
    network = build(TINY).eval()
    with torch.no_grad():
        network.head.weight.normal_()
    about = VisionFile(
        room="early_conv", network="vit", config=TINY.to_dict(), preprocessing={"size": 32}, labels={"image": ["a"]}
    )  # fmt: skip
    path = tmp_path / "tiny.safetensors"
    save_vision(network, path, about)
    see = load(path)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(see.model(images), network(images), atol=0.02)
    assert see.config == TINY
    save_vision(network, path, dataclasses.replace(about, room="swag"))
    with pytest.raises(UserError, match="a network of swag, and one of early_conv was expected"):
        load(path)
    save_vision(network, path, dataclasses.replace(about, config={**TINY.to_dict(), "depth": 2}))
    with pytest.raises(UserError, match=r"blocks\.1"):
        load(path)
    save_vision(network, path, dataclasses.replace(about, network="resnet"))
    with pytest.raises(UserError, match="'resnet'"):
        load(path)


def test_there_are_no_published_files() -> None:
    assert hub.find("early-conv-nano").published == ()
    for path in (None, Path("vit_c.safetensors")):
        with pytest.raises(UserError, match="were never released"):
            load(path, name="vit_c_1gf")
    with pytest.raises(UserError, match="need weights"):
        load(None)
    assert set(hub.find("early-conv-nano").presets) == set(PRESETS)


def test_own_pictures_are_parted_once(tmp_path: Path) -> None:
    own = OwnPictures(paint(tmp_path / "colours"), 24)
    training, held = {file for file, _ in own.training}, {file for file, _ in own.held_out}
    assert (len(training), len(held), own.classes) == (33, 3, tuple(COLOURS))
    assert not training & held
    assert {label for _, label in own.held_out} == {0, 1, 2}
    pixels, labels = own.drawn(range(33), seed=0)
    assert (pixels.shape, pixels.dtype) == ((33, 3, 24, 24), torch.uint8)
    assert labels.bincount().tolist() == [11, 11, 11]  # an epoch shows each once
    brightest = pixels.float().mean((2, 3)).argmax(1)
    assert torch.equal(brightest, 2 - labels)
    assert own.validation(2)[0].shape == (2, 3, 24, 24)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [((), "has 0 subfolders"), (("a", "b"), "has 0 subfolders with media")],
)
def test_folders_that_cannot_be_trained_on(tmp_path: Path, made: tuple[str, ...], sentence: str) -> None:
    for name in made:
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=sentence):
        OwnPictures(tmp_path, 24)
    with pytest.raises(UserError, match="there is no folder"):
        OwnPictures(tmp_path / "none", 24)


def test_one_picture_is_too_few(tmp_path: Path) -> None:
    folder = paint(tmp_path / "colours", each=1)
    with pytest.raises(UserError, match="holds one picture"):
        OwnPictures(folder, 24)


def test_the_nano_weights_know_kinds_of_things() -> None:
    entry = hub.find("early-conv-nano")
    if entry.nano_path is None:
        pytest.skip("this copy has no nano weights")
    see = load(entry.nano_path)
    assert json.loads(json.dumps(see.config.to_dict()))["dim"] == 96
    drawn = pictures(range(100), "val", 64)
    images = see.preprocessing.normalise(drawn.pixels[:, :, 0].float() / 255)
    right = see.model(images).argmax(1) == drawn.labels("family", see.labels["image"])
    assert right.float().mean() > 0.6
