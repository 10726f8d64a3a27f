"""Learning from tags: what is read and how often it is shown, runs that learn and resume, and the way to classes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.data.preprocessing import Preprocessing
from kinema.data.tag_sampling import repeats
from kinema.errors import UserError
from kinema.systems.swag import recipe as recipes
from kinema.systems.swag.model import RegNetConfig, at, build
from kinema.systems.swag.pipeline import load
from kinema.systems.swag.recipe import ADAMW, NANO, SGD, recipe, settings, tag_loss, tag_recipe
from kinema.systems.swag.tagged import TagBatches, scene_pictures, tagged_folder
from kinema.systems.swag.transfer import class_folder, with_linear_head
from kinema.systems.swag.zero_shot import KnownTags
from kinema.train import run_stages, seed_everything

TINY = RegNetConfig(depth=3, initial=8, slope=8.0, step=2.0, group_width=4, stem=8)
GIVEN = replace(NANO["nano"], size=32, larger=48, steps=40, batch_size=16, optimizer=SGD | {"lr": 0.1})


@pytest.fixture(scope="module")
def scenes():
    return scene_pictures(150, 32, min_count=3)


def made(scenes, steps: int):
    """The recipe of a tiny network, its weights always the same."""
    seed_everything(0)
    network = build(at(TINY, len(scenes.vocabulary)))
    run = tag_recipe(network, TINY, scenes, replace(GIVEN, steps=steps), False)
    run.stages[0].prefetch = 0
    return run


def photos(folder, colours, size=(40, 30)):
    """Plain pictures with a little noise, one for each name and colour."""
    rng = np.random.default_rng(0)
    for name, colour in colours.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        noise = rng.integers(0, 30, (*size, 3), np.uint8)
        Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(folder / name)


def test_an_epoch_shows_pictures_by_their_rarest_tag(scenes):
    batches = TagBatches(scenes, Preprocessing(size=32))
    shown = torch.zeros(len(scenes))
    epochs = 60
    for place in batches.places(range(epochs * batches.epoch), 0):
        shown[place] += 1
    want = repeats(scenes.tags, scenes.vocabulary.counts, most=10)
    assert float((shown / epochs - want).abs().max()) < 0.25
    assert shown[want == 0].sum() == 0
    assert batches.places(range(5), 0) == batches.places(range(5), 0) != batches.places(range(5), 1)
    assert float(batches.prior.sum()) == pytest.approx(1)


def test_a_sample_follows_from_its_number_and_targets_add_up(scenes):
    stage = made(scenes, 40).stages[0]
    one = stage.batches(stage.microbatch(3, 0, rank=0, world=1, seed=0))
    two = stage.batches(stage.microbatch(3, 0, rank=0, world=1, seed=0))
    assert torch.equal(one.pixels, two.pixels)
    assert one.pixels.shape == (16, 3, 32, 32)
    torch.testing.assert_close(one.targets.sum(1), torch.ones(16))


def test_a_short_run_learns_and_its_file_knows_the_tags(scenes, tmp_path):
    run = made(scenes, 40)
    stage = run.stages[0]
    batch = stage.batches(stage.microbatch(99, 0, rank=0, world=1, seed=0))
    before = tag_loss(stage.model.train(), batch, torch.Generator())[0].item()
    run_stages(run.stages, tmp_path / "run", device="cpu", progress=False)
    assert tag_loss(stage.model.train(), batch, torch.Generator())[0].item() < before - 0.3
    path = run.finish(tmp_path)
    see = load(path)
    assert see.labels["image"] == scenes.vocabulary.tags
    assert KnownTags.of(path).vocabulary == scenes.vocabulary
    measured = recipes.validate(see.network, tmp_path, KnownTags.of(path), 32, 32)
    assert set(measured) == {"object", "object_corrected"}


def test_resume_equals_a_run_without_a_stop(scenes, tmp_path):
    straight = made(scenes, 6)
    run_stages(straight.stages, tmp_path / "straight", device="cpu", progress=False)
    stopped = made(scenes, 6).stages[0]
    whole, stopped.checkpoint_every = stopped.batches, 3

    def batches(index):
        if index.step == 4:
            raise RuntimeError("stopped")
        return whole(index)

    stopped.batches = batches
    with pytest.raises(RuntimeError, match="stopped"):
        run_stages([stopped], tmp_path / "run", device="cpu", progress=False)
    again = made(scenes, 6)
    run_stages(again.stages, tmp_path / "run", device="cpu", progress=False)
    want, got = straight.stages[0].model.state_dict(), again.stages[0].model.state_dict()
    assert all(torch.equal(want[name], got[name]) for name in want)


def test_a_folder_of_pictures_with_tags(tmp_path):
    photos(tmp_path, {"a.png": (200, 0, 0), "b.png": (0, 200, 0), "sub/c.png": (0, 0, 200)})
    (tmp_path / "a.txt").write_text("#Dogs #park")
    (tmp_path / "b.json").write_text(json.dumps(["dog", "ice cream"]))
    (tmp_path / "sub" / "c.txt").write_text("cat, Ice Cream")
    found = tagged_folder(tmp_path, 32)
    assert found.vocabulary.tags == ("dog", "icecream", "cat", "park")
    assert found.tags == ((0, 3), (0, 1), (2, 1))
    assert found.read([1])[0].shape == (3, 53, 40)
    run = recipe(data=tmp_path)
    assert [stage.name for stage in run.stages] == ["tags"]
    stage = run.stages[0]
    stage.steps, stage.batch_size, stage.warmup_steps = 2, 2, 0
    run_stages(run.stages, tmp_path / "run", device="cpu", progress=False)
    path = run.finish(tmp_path)
    assert load(path).labels["image"] == found.vocabulary.tags
    again = recipe(data=tmp_path, init=path)  # a new head on the trained trunk
    for name, value in load(path).network.trunk.state_dict().items():
        assert torch.equal(again.stages[0].model.trunk.state_dict()[name], value)
    with pytest.raises(UserError, match="another trunk"):
        recipe(preset="nano_vit", data=tmp_path, init=path)


def test_a_folder_of_classes_is_finetuned_at_a_larger_size(tmp_path, monkeypatch):
    monkeypatch.setitem(NANO, "nano", GIVEN)
    monkeypatch.setattr(recipes, "preset", lambda name: TINY)
    colours = {"red": (220, 30, 30), "green": (30, 200, 40)}
    photos(
        tmp_path / "photos",
        {f"{name}/{k}.png": colour for name, colour in colours.items() for k in range(16)},
    )
    run = recipe(data=tmp_path / "photos")
    (stage,) = run.stages
    stage.steps, stage.lr, stage.validate_every, stage.warmup_steps = 30, 0.05, 0, 2
    assert stage.name == "finetune"
    run_stages(run.stages, tmp_path / "run", device="cpu", progress=False)
    assert stage.validate(stage.model.eval(), tmp_path)["accuracy"] == 1.0
    see = load(run.finish(tmp_path))
    assert see.preprocessing.size == 48
    assert see.classify(tmp_path / "photos" / "red" / "3.png")[0].label == "red"


def test_the_frozen_trunk_with_a_linear_head():
    torch.manual_seed(0)
    labels = torch.arange(40) % 2
    x = torch.randn(40, 3, 32, 32) + 2 * labels[:, None, None, None]
    trained = build(TINY).eval()
    network = with_linear_head(trained, TINY, x, labels)
    with torch.no_grad():
        torch.testing.assert_close(network.features(x), trained.features(x))
        assert (network(x).argmax(1) == labels).all()


def test_folders_without_tags_or_classes_are_refused(tmp_path):
    photos(tmp_path, {"a/1.png": (200, 0, 0)})
    with pytest.raises(UserError, match="two or more are expected, one for each class"):
        recipe(data=tmp_path)
    photos(tmp_path, {"b/1.png": (200, 0, 0)})
    assert class_folder(tmp_path, 32).classes == ("a", "b")


def test_published_sizes_train_as_the_paper_says():
    assert settings("regnety_16gf").optimizer["lr"] == 3.2
    assert settings("vit_h14").optimizer == ADAMW | {"lr": 4e-4}
    assert (settings("vit_h14").larger, settings("vit_b16").larger, settings("regnety_128gf").larger) == (
        518,
        384,
        384,
    )
