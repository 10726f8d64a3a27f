"""Joint training: turns that follow from the step, a run that learns and resumes, and a folder of one's own."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.errors import UserError
from kinema.media.depth import Depth
from kinema.media.video import Video
from kinema.systems.omnivore import recipe as recipes
from kinema.systems.omnivore.folder import folder_sources, read_sample
from kinema.systems.omnivore.model import PRESETS, HeadConfig, Omnivore, OmnivoreConfig
from kinema.systems.omnivore.objective import learning_rate
from kinema.systems.omnivore.pipeline import load
from kinema.systems.omnivore.recipe import NANO_PIXELS, begin, joint_stage, measured, recipe
from kinema.systems.omnivore.sources import (
    MOVEMENTS,
    THINGS,
    Turns,
    mirrored_movements,
    relative,
    world_clips,
    world_sources,
)
from kinema.train import run_stages
from kinema.train.schedules import learning_rate_factor

SMALL = dataclasses.replace(
    NANO_PIXELS,
    picture=dataclasses.replace(NANO_PIXELS.picture, size=16),
    frames=4,
    sampled=4,
    stride=4,
)
TINY = OmnivoreConfig(
    dim=8,
    depths=(1, 1),
    num_heads=(1, 2),
    window=(2, 4, 4),
    heads=tuple(
        HeadConfig(kind=source.kind, classes=len(source.classes)) for source in world_sources(16, 4, 1)
    ),
)


def train(out, steps, seed=0, stop=None):
    torch.manual_seed(seed)
    network = Omnivore(TINY)
    sources = world_sources(16, 4, 4)
    stage = joint_stage(network, sources, world_sources(16, 4, 1, "val"), SMALL, steps, batch_size=8)
    stage.validate, stage.checkpoint_every = None, 3
    stage.steps = stop or steps
    run_stages([stage], out, seed=seed, device="cpu", precision="fp32", progress=False)
    return network


def test_turns_follow_from_the_step_and_repeat_the_rare_kind():
    sources = world_sources(16, 4, 15)
    turns = Turns(sources, SMALL, 4, seed=1)
    assert turns.length == 15 + 12 + 2 * 3
    stage = joint_stage(Omnivore(TINY), sources, [], SMALL, 100, batch_size=4)
    kinds = Counter()
    for step in range(turns.length):
        index = stage.microbatch(step, 0, rank=0, world=1, seed=0)
        batch = turns(index)
        kinds[batch.kind] += 1
        if step < 2:
            again = turns(index)
            assert torch.equal(batch.pixels, again.pixels)
        assert len(batch.pixels) == (2 if batch.kind == "video" else 4)
        assert batch.pixels.shape[1] == (4 if batch.kind == "rgbd" else 3)
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(len(batch.targets)))
    assert kinds == {"image": 15, "video": 12, "rgbd": 6}


def test_a_mirror_turns_movements_round():
    turned = mirrored_movements()
    names = {MOVEMENTS[k]: MOVEMENTS[turned[k]] for k in range(len(MOVEMENTS))}
    assert names["slide left"] == "slide right"
    assert names["spin clockwise"] == "spin counterclockwise"
    assert names["fall"] == "fall"
    assert torch.equal(turned[turned], torch.arange(len(MOVEMENTS)))
    plain, labels = world_clips(range(12), "val", 16, 4, torch.Generator(), training=False)
    _, others = world_clips(range(12), "val", 16, 4, torch.Generator().manual_seed(0), training=True)
    assert plain.shape == (12, 3, 4, 16, 16)
    assert (others != labels).any()
    assert torch.equal(labels[:, 0], others[:, 0])  # the thing stays what it is
    first = len(THINGS)
    assert all(
        b - first in (a - first, int(turned[a - first]))
        for a, b in zip(labels[:, 1].tolist(), others[:, 1].tolist(), strict=True)
    )


def test_disparity_is_relative_in_training_as_in_use():
    maps = torch.rand(2, 9, 9) * 7 + 2
    for given, seen in zip(maps, relative(maps), strict=True):
        want = Depth(given.numpy(), "relative_disparity").normalised()
        np.testing.assert_array_equal(seen.numpy(), want)


def test_the_schedule_is_the_public_one():
    """Up in a line, down a cosine, out in a line: `learning_rate` says the same of a share of the run."""
    steps = 1000
    for step in (100, 300, 500, 899, 950, 999):
        factor = learning_rate_factor(
            "cosine_line", step, steps=steps, warmup_steps=100, decay_fraction=0.1, floor=5e-4
        )
        assert factor == pytest.approx(learning_rate(step / steps, 1.0), abs=2e-3)


def test_a_few_steps_learn(tmp_path):
    network = train(tmp_path / "run", 40).eval()
    untrained = Omnivore(TINY).eval()
    sources = world_sources(16, 4, 4)
    losses = []
    for model in (untrained, network):
        total = 0.0
        for source in sources:
            pixels, labels = source.samples(range(16), torch.Generator().manual_seed(0))
            with torch.no_grad():
                logits = model(recipes.normalised(pixels, SMALL), source.kind)
            rows = logits.log_softmax(1).gather(1, labels.view(len(labels), -1))
            total -= float(rows.mean())
        losses.append(total)
    assert losses[1] < losses[0]
    rates = measured(network, sources, SMALL, 1)
    assert set(rates) == {"image", "video", "video_2", "rgbd"}
    assert all(0 <= rate <= 1 for rate in rates.values())


def test_an_interrupted_run_ends_the_same(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", 9)
    source_loss, calls = recipes.loss, []

    def failing(*given):
        calls.append(1)
        if len(calls) == 8:
            raise RuntimeError("stopped")
        return source_loss(*given)

    monkeypatch.setattr(recipes, "loss", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        train(tmp_path / "parts", 9)
    monkeypatch.setattr(recipes, "loss", source_loss)
    resumed = train(tmp_path / "parts", 9)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


# -- a folder of one's own --------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path):
    """Two classes of pictures and clips by their colour, one of them with depth."""
    rng = np.random.default_rng(0)
    for name, colour in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
        folder = tmp_path / "mine" / name
        folder.mkdir(parents=True)
        for k in range(11):
            pixels = np.clip(np.uint8(colour) + rng.integers(0, 30, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{k}.png")
            if k < 3:
                Depth(rng.random((20, 24), np.float32), "relative_disparity").write(folder / f"{k}_depth.png")
        Video(np.stack([np.roll(pixels, 3 * k, 1) for k in range(6)]), 8.0).write(folder / "clip.gif")
        (folder / "notes.txt").write_text("not a picture")
    return tmp_path / "mine"


def test_a_folder_has_its_kinds_and_classes(mine):
    (mine / "red" / "broken.png").write_bytes(b"nothing")
    training, held = folder_sources(mine, SMALL, 4)
    found = {source.kind: source for source in training}
    assert set(found) == {"image", "video", "rgbd"}
    assert all(source.classes == ("blue", "red") for source in training)
    assert (found["image"].batches, found["image"].repeat) == (4, 1.0)
    assert found["rgbd"].repeat == pytest.approx(16 / 6)
    assert found["video"].repeat == pytest.approx(8.0)
    assert held == []  # there are fewer than ten of each
    pixels, labels = found["image"].samples(range(6), torch.Generator().manual_seed(0))
    assert pixels.shape == (6, 3, 1, 16, 16)
    reddish = pixels[:, 0].mean((1, 2, 3)) > pixels[:, 2].mean((1, 2, 3))
    assert torch.equal(reddish.long(), labels)
    kind, sample = read_sample(mine / "red" / "0.png", SMALL)
    assert (kind, sample.shape) == ("rgbd", (4, 1, 16, 16))


def test_a_folder_trains_on_from_weights(mine, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "nano", TINY)
    monkeypatch.setattr(recipes, "NANO_PIXELS", SMALL)
    first = recipe()
    start = first.finish(tmp_path)
    mine_too = recipe(data=mine, init=start)
    stage = mine_too.stages[0]
    own = first.stages[0].model.state_dict()
    name = "trunk.stages.0.blocks.0.attention.qkv.weight"
    torch.testing.assert_close(stage.model.state_dict()[name], own[name], atol=1e-3, rtol=1e-2)
    stage.steps, stage.warmup_steps = 2, 1
    run_stages([stage], tmp_path / "run", seed=0, device="cpu", progress=False)
    (tmp_path / "final").mkdir()
    see = load(mine_too.finish(tmp_path / "final"))
    assert {guess.label for guess in see.classify(mine / "red" / "5.png")} == {"red", "blue"}
    with pytest.raises(UserError, match="another size"):
        begin(Omnivore(dataclasses.replace(TINY, dim=16)), {}, start)


def test_folders_without_classes_are_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="has 0 subfolders with media"):
        recipe(data=tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_text("no picture")
    with pytest.raises(UserError, match="no file in the subfolders"):
        recipe(data=tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "one" / "a.png")
    with pytest.raises(UserError, match="expected two classes"):
        recipe(data=tmp_path)
