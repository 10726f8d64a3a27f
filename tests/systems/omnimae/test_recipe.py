"""Joint training: batches of one kind, a run that learns and resumes to the same numbers, folders, finetuning."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.media import Image, Video
from kinema.systems.omnimae import recipe as recipes
from kinema.systems.omnimae.data import Folder, JointBatches, World
from kinema.systems.omnimae.finetuning import FinetuningBatches, finetuning_stage
from kinema.systems.omnimae.model import PRESETS, OmniMAEConfig, autoencoder, finetuned_from
from kinema.systems.omnimae.pipeline import load
from kinema.train import read_metrics, run_stages
from kinema.train.stage import Stage
from kinema.world.scene import WorldSpec

TINY = OmniMAEConfig(
    dim=32, depth=2, num_heads=2, decoder_dim=32, decoder_depth=1, decoder_heads=2, patch=(2, 8, 8), frames=4,
    image_size=16,
)  # fmt: skip
PREPROCESSING = Preprocessing(size=16)
SOURCE = World(frames=4, size=16, spec=WorldSpec(vocabulary="nano"))


def stage_of(model: torch.nn.Module, steps: int = 4) -> Stage:
    stage = recipes.joint_stage(model, SOURCE, PREPROCESSING, steps=steps, batch_size=8, clip_part=1.0)
    stage.warmup_steps, stage.prefetch, stage.log_every, stage.checkpoint_every = 1, 0, 1, 2
    return stage


def indexed(stage: Stage, step: int):
    return stage.microbatch(step, 0, rank=0, world=1, seed=0)


def test_a_batch_is_of_one_kind_and_a_pure_function_of_its_place() -> None:
    stage = stage_of(autoencoder(TINY))
    shapes = [tuple(stage.batches(indexed(stage, step)).shape) for step in range(6)]
    assert set(shapes) == {(8, 3, 16, 16), (8, 3, 4, 16, 16)}
    clip = shapes.index((8, 3, 4, 16, 16))
    batch = stage.batches(indexed(stage, clip))
    assert torch.equal(batch, stage.batches(indexed(stage, clip)))
    assert not torch.equal(batch[0], batch[1])  # two views of one clip
    batches = JointBatches(source=SOURCE, preprocessing=PREPROCESSING, clip_part=0.5, scale=(1.0, 1.0))
    one = batches(indexed(stage, clip))
    assert len(one) == 4  # one clip, four times


def test_a_run_learns_and_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    def run(out: Path, stop: int | None = None) -> torch.nn.Module | None:
        torch.manual_seed(0)
        model = autoencoder(TINY)
        stage = stage_of(model, 24)
        if stop is not None:
            make = stage.batches

            def batches(index):
                if index.step == stop:
                    raise InterruptedError
                return make(index)

            stage.batches = batches
        try:
            run_stages([stage], out, device="cpu", precision="fp32", progress=False)
        except InterruptedError:
            return None
        return model

    straight = run(tmp_path / "a")
    assert run(tmp_path / "b", stop=15) is None
    resumed = run(tmp_path / "b")
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    log = read_metrics(tmp_path / "a" / "metrics.jsonl")
    for name in ("train/masked_image", "train/masked_clip"):
        values = [record[name] for record in log if name in record]
        assert np.mean(values[-3:]) < np.mean(values[:3]) - 0.01


def test_the_recipe_ends_in_a_file_that_opens(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(PRESETS, "nano", TINY)
    monkeypatch.setattr(recipes, "HELD_OUT", 32)
    made = recipes.recipe(seed=3)
    (stage,) = made.stages
    assert stage.validate is not None
    values = stage.validate(stage.model, tmp_path)
    assert values.keys() == {"masked_image", "masked_clip"}
    assert all(0.8 < value < 1.3 for value in values.values())  # untrained
    path = made.finish(tmp_path)
    see = load(path)
    assert see.config == TINY
    assert see.parts.views.seconds == 2.0
    again = recipes.recipe(init=path)
    for name, value in again.stages[0].model.state_dict().items():
        torch.testing.assert_close(value, see.network.state_dict()[name])
    monkeypatch.setitem(PRESETS, "nano", dataclasses.replace(TINY, depth=1))
    with pytest.raises(UserError, match="no masked autoencoder of the size"):
        recipes.recipe(init=path)


def test_a_folder_of_pictures_and_clips_without_labels(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(PRESETS, "nano", TINY)
    pixels = np.random.default_rng(0).integers(0, 255, (5, 24, 32, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="no pictures and no clips"):
        recipes.recipe(data=tmp_path)
    for number in range(2):
        Image(pixels[number]).write(tmp_path / f"{number}.png")
    assert Folder(tmp_path, 4, 16).clip_share == 0.0
    (tmp_path / "deep").mkdir()
    Video(pixels, 8.0).write(tmp_path / "deep" / "c.mp4")
    folder = Folder(tmp_path, 4, 16)
    assert folder.clip_share == 0.5
    assert folder.pictures(range(3)).shape == (3, 3, 20, 20)
    assert folder.clips(range(2)).shape == (2, 3, 4, 20, 20)
    (stage,) = recipes.recipe(data=tmp_path).stages
    assert {stage.batches(indexed(stage, step)).ndim for step in range(6)} == {4, 5}
    for picture in tmp_path.glob("*.png"):
        picture.unlink()
    assert Folder(tmp_path, 4, 16).clip_share == 1.0


@pytest.mark.parametrize("attribute", ["family", "motion"])
def test_finetuning_starts_from_the_encoder_and_learns(attribute: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pretrained = autoencoder(TINY)
    batches = FinetuningBatches(attribute=attribute, frames=4, preprocessing=PREPROCESSING, pool=64)
    network = finetuned_from(pretrained, TINY, len(batches.classes))
    torch.testing.assert_close(network.stem.proj.weight, pretrained.encoder.stem.proj.weight)
    stage = finetuning_stage(network, batches, steps=30, batch_size=16, lr=1e-2)
    assert stage.lr_scales["head.*" if "head.*" in stage.lr_scales else "*"] == 0.75
    x, labels = batches(indexed(stage, 0))
    assert x.ndim == (4 if attribute == "family" else 5)
    assert len(labels) == 16
    stage.warmup_steps, stage.log_every = 1, 1
    run_stages([stage], tmp_path, device="cpu", precision="fp32", progress=False)
    losses = [record["train/loss"] for record in read_metrics(tmp_path / "metrics.jsonl")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    path = tmp_path / "tuned.safetensors"
    batches.save(network, TINY, path)
    assert set(load(path).labels) == {"image" if attribute == "family" else "video"}
