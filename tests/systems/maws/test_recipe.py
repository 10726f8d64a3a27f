"""The three stages of MAWS: what they read, that they learn, go on after a stop, and end in a file that opens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.errors import UserError
from kinema.nn import MaskedAutoencoder
from kinema.systems.maws import finetuning
from kinema.systems.maws import recipe as rooms
from kinema.systems.maws.model import PRESETS, MawsConfig, encoder
from kinema.systems.maws.pipeline import load, open_trunk
from kinema.systems.maws.recipe import recipe
from kinema.systems.maws.tagged import Order, folder_pictures, world_nouns, world_pictures
from kinema.train import run_stages
from kinema.vision import read_vision

TINY = MawsConfig(
    dim=32, depth=2, num_heads=2, patch=8, image_size=32, decoder_dim=16, decoder_depth=1, decoder_heads=2
)
PLAN = rooms.Plan(
    masked_batch=8, masked_lr=3e-3, masked_steps=12, tags_batch=8, tags_lr=3e-3, tags_decay=0.0, tags_steps=16
)


@pytest.fixture
def small(monkeypatch):
    """A network, plan and world in which a run takes a second."""
    monkeypatch.setitem(PRESETS, "nano", TINY)
    for name, value in (("NANO", PLAN), ("SCENES", 60), ("HELD_OUT", 8), ("MIN_COUNT", 2)):
        monkeypatch.setattr(rooms, name, value)


def pictures_of(folder: Path, words: bool) -> Path:
    """Red and blue squares, with tags beside them or in a folder of their own."""
    rng = np.random.default_rng(0)
    for number in range(16):
        name = "red" if number % 2 else "blue"
        place = folder if words else folder / name
        place.mkdir(exist_ok=True, parents=True)
        pixels = rng.integers(0, 60, (30 + number, 40, 3), np.uint8)
        pixels[..., 0 if number % 2 else 2] += 150
        Image.fromarray(pixels).save(place / f"{number}.png")
        if words:
            (place / f"{number}.txt").write_text(f"#{name}, #square #{'Reds' if number % 2 else 'sea'}")
    return folder


def losses(folder: Path) -> dict[str, list[float]]:
    from kinema.train import read_metrics

    found: dict[str, list[float]] = {}
    for row in read_metrics(folder / "metrics.jsonl"):
        if "train/loss" in row:
            found.setdefault(row["stage"], []).append(row["train/loss"])
    return found


def run(made, out: Path, **options) -> None:
    for stage in made.stages:
        stage.log_every, stage.checkpoint_every = 4, 5
    run_stages(made.stages, out, device="cpu", progress=False, precision="fp32", **options)


def test_two_stages_learn_and_leave_files(small, tmp_path):
    made = recipe()
    assert [stage.name for stage in made.stages] == ["masked", "tags"]
    run(made, tmp_path / "run")
    found = losses(tmp_path / "run")
    assert found["masked"][-1] < found["masked"][0]
    assert found["tags"][-1] < found["tags"][0]
    path = made.finish(tmp_path)
    see = load(path)
    assert len(see.labels["image"]) == see.config.num_classes
    _, about = read_vision(path, "maws")
    assert sum(about.facts["prior"]) == pytest.approx(1, abs=1e-4)
    assert len(about.facts["prior"]) == len(about.labels["image"])
    assert isinstance(load(tmp_path / "autoencoder.safetensors").network, MaskedAutoencoder)
    assert list((tmp_path / "run" / "samples").rglob("reconstruction.png"))
    # The second stage began with the first one's encoder, and trained it.
    assert not torch.equal(open_trunk(path).norm.weight, torch.ones(32))
    again = recipe(init=path)
    assert [stage.name for stage in again.stages] == ["tags"]


def test_a_run_that_stops_goes_on_as_if_it_had_not(small, tmp_path):
    whole = recipe()
    run(whole, tmp_path / "whole")
    for stop in (7, 12, None):  # in the first stage, at its end, and on to the end of the second
        parts = recipe()
        for stage in parts.stages:
            batches, name = stage.batches, stage.name

            def stopping(index, batches=batches, name=name, stop=stop):
                if (
                    name == ("tags" if stop == 12 else "masked")
                    and stop
                    and index.step == (3 if stop == 12 else stop)
                ):
                    raise KeyboardInterrupt
                return batches(index)

            stage.batches = stopping
        if stop is None:
            run(parts, tmp_path / "parts")
        else:
            with pytest.raises(KeyboardInterrupt):
                run(parts, tmp_path / "parts")
    one, two = (made.stages[-1].model.state_dict() for made in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_own_pictures_with_tags(small, tmp_path):
    made = recipe(data=pictures_of(tmp_path / "own", words=True))
    path = made.finish(tmp_path)
    _, about = read_vision(path, "maws")
    assert set(about.labels["image"]) == {"red", "blue", "square", "sea"}
    assert about.facts["trained_on"] == "16 own pictures"
    images, targets = made.stages[-1].batches(made.stages[-1].microbatch(0, 0, rank=0, world=1, seed=0))
    assert images.shape == (8, 3, 32, 32)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))


def test_own_classes_are_finetuned_at_a_larger_size(small, tmp_path, monkeypatch):
    own = pictures_of(tmp_path / "own", words=False)
    monkeypatch.setattr(finetuning, "NANO_FILE", tmp_path / "none")
    with pytest.raises(UserError, match="needs a trained network"):
        recipe(data=own)
    world = recipe()
    init = world.finish(tmp_path)
    made = recipe(data=own, init=init)
    (stage,) = made.stages
    stage.steps, stage.batch_size, stage.warmup_steps, stage.lr = 30, 8, 2, 3e-3
    stage.validate_every = 0
    run(made, tmp_path / "run")
    see = load(made.finish(tmp_path))
    assert see.labels["image"] == ("blue", "red")
    assert see.config.image_size == 48
    assert see.classify(own / "red" / "1.png", top=1)[0].label == "red"
    assert see.classify(own / "blue" / "0.png", top=1)[0].label == "blue"
    monkeypatch.setitem(PRESETS, "nano", dataclasses.replace(TINY, dim=64))
    with pytest.raises(UserError, match="same width, depth and patch"):
        recipe(data=own, init=init)


def test_folders_that_say_nothing_are_refused(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        folder_pictures(tmp_path / "none", 32)
    with pytest.raises(UserError, match="holds no pictures"):
        folder_pictures(tmp_path, 32)
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="say nothing about themselves"):
        folder_pictures(tmp_path, 32)


def test_tagged_pictures_of_the_world():
    noisy, right = world_pictures(6, 32), world_pictures(6, 32, right=True)
    assert all(len(words) >= 3 for words in right.words)
    assert noisy.words != right.words
    assert {"fox", "meadow", "wildlife"} <= world_nouns()
    assert not {"bouncing", "instagood"} & world_nouns()


def test_order_shows_each_as_often_as_expected():
    order = Order(torch.tensor([2.0, 1.0, 0.0, 0.5]), seed=0)
    shown = torch.tensor(order(range(700))).bincount(minlength=4)
    assert shown[2] == 0
    assert 380 <= shown[0] <= 420
    assert 70 <= shown[3] <= 130
    other = Order(torch.tensor([2.0, 1.0, 0.0, 0.5]), seed=0)
    assert other(range(650, 660)) == order(range(650, 660))


def test_larger_sizes_are_whole_patches():
    assert finetuning.larger(MawsConfig.preset("vit_h14")) == 518
    assert finetuning.larger(MawsConfig.preset("nano")) == 96
    assert encoder(TINY).head is None
