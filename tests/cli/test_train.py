"""`kinema train`: overrides by name, limits, and what reaches the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import kinema.train
from kinema import hub
from kinema.cli.train import apply_override, given_options, parse_override
from kinema.errors import UserError
from kinema.train import Recipe, Stage


def stages() -> list[Stage]:
    """Two stages that could run, around a network of one weight."""

    def loss(
        model: nn.Module, batch: Any, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        return model(batch).square().mean(), {}

    shared: dict[str, Any] = {
        "model": nn.Linear(1, 1),
        "loss": loss,
        "batches": lambda index: torch.ones(2, 1),
    }
    return [
        Stage(name="codec", steps=50, batch_size=2, warmup_steps=20, **shared),
        Stage(name="video", steps=100, batch_size=2, schedule="cosine", **shared),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("video.lr=3e-4", ("video", "lr", 3e-4)),
        ("video.steps=10", ("video", "steps", 10)),
        ("video.schedule=constant", ("video", "schedule", "constant")),
        ("video.clip_norm=none", ("video", "clip_norm", None)),
        ("video.fused=TRUE", ("video", "fused", True)),
        ("video.betas=(0.9, 0.99)", ("video", "betas", (0.9, 0.99))),
        ("video.lr_scales={'a.*': 0.1}", ("video", "lr_scales", {"a.*": 0.1})),
        ("video.x=a=b", ("video", "x", "a=b")),
        ("video.x=__import__('os')", ("video", "x", "__import__('os')")),
    ],
)
def test_overrides_are_read(text, expected):
    assert parse_override(text) == expected


def test_options_reach_the_recipe_that_takes_them():
    def builder(preset, data, seed, init, size=None, num_frames=None):
        raise AssertionError("not called")

    nothing = {"size": None, "num_frames": None, "buckets": None}
    assert given_options("x", builder, nothing) == {}
    assert given_options("x", builder, {**nothing, "size": 96}) == {"size": 96}
    with pytest.raises(UserError, match="the recipe of x takes no --buckets: leave it out"):
        given_options("x", builder, {**nothing, "buckets": "nano"})
    with pytest.raises(UserError, match="--num-frames is 0 and must be 1 or more"):
        given_options("x", builder, {**nothing, "num_frames": 0})


@pytest.mark.parametrize("text", ["lr=3", "video.lr", "video.=3", ".lr=3", "video.lr=", "", "="])
def test_half_an_override_is_refused(text):
    with pytest.raises(UserError, match=r"STAGE\.FIELD=VALUE"):
        parse_override(text)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (("vidoe", "lr", 1.0), "no stage 'vidoe' in this recipe; the closest are video, codec"),
        (("video", "learning_rate", 1.0), "no setting 'learning_rate'; the closest are"),
        (("video", "steps", 1.5), "is of another kind: give a int"),
        (("video", "steps", True), "is of another kind"),
        (("video", "lr", "fast"), "is of another kind: give a float"),
        (("video", "model", None), "no setting 'model'"),
        (("video", "loss", "l2"), "no setting 'loss'"),
        (("video", "name", "other"), "no setting 'name'"),
    ],
)
def test_wrong_overrides(override, sentence):
    with pytest.raises(UserError, match=sentence):
        apply_override(stages(), *override)


def test_overrides_are_set():
    recipe = stages()
    apply_override(recipe, "video", "lr", 1)
    apply_override(recipe, "video", "clip_norm", None)
    assert (recipe[1].lr, recipe[1].clip_norm) == (1.0, None)
    assert isinstance(recipe[1].lr, float)
    assert recipe[0].lr != 1.0


@pytest.fixture
def recorded(monkeypatch):
    """The recipe and the loop replaced: what each was asked, in the order in which it came."""
    asked: dict[str, Any] = {}

    def finish(folder: Path) -> Path:
        asked["finish"] = folder
        return folder / "model.safetensors"

    def recipe(**settings: Any) -> Recipe:
        asked["recipe"] = settings
        return Recipe(stages=stages(), finish=finish)

    def run_stages(given: list[Stage], out: Any, **settings: Any) -> None:
        asked["run"] = {"stages": given, "out": out, **settings}

    monkeypatch.setattr(hub, "resolve", lambda path: recipe)
    monkeypatch.setattr(kinema.train, "run_stages", run_stages)
    return asked


@pytest.fixture
def nano(monkeypatch, tmp_path) -> Path:
    """A stand-in for the weights inside the package."""
    path = tmp_path / "nano.safetensors"
    save_file({"a": torch.ones(1)}, path)
    monkeypatch.setattr(hub.Entry, "nano_path", path)
    return path


def test_what_reaches_the_loop(kinema, recorded, nano, tmp_path):
    (tmp_path / "clips").mkdir()
    answer = kinema(
        "train", "movie-gen-video-nano", "--out", "runs/a", "--data", "clips", "--max-steps", "10", "--seed", "3",
        "--set", "video.lr=0.5", "--set", "codec.batch_size=4", "--resume", "never", "--device", "cpu",
    )  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    assert recorded["recipe"] == {"preset": "nano", "data": Path("clips"), "seed": 3, "init": nano}
    run = recorded["run"]
    assert [(s.steps, s.warmup_steps, s.lr, s.batch_size) for s in run["stages"]] == [
        (10, 9, 1e-3, 4),
        (10, 0, 0.5, 2),
    ]
    assert (str(run["out"]), run["resume"], run["seed"], run["device"]) == ("runs/a", "never", 3, "cpu")
    assert run["settings"]["data"] == "clips"


def test_how_it_is_computed_reaches_the_loop(kinema, recorded):
    words = ("--precision", "fp32", "--parallel", "fsdp")
    assert kinema("train", "movie-gen-video", "--out", "run", *words).code == 0
    assert (recorded["run"]["precision"], recorded["run"]["parallel"]) == ("fp32", "fsdp")
    for words, said in (
        (("--precision", "fp8"), "auto, fp32 or bf16"),
        (("--parallel", "tp"), "ddp or fsdp"),
    ):
        answer = kinema("train", "movie-gen-video", "--out", "run", *words)
        assert answer.code == 2
        assert said in answer.err


def test_only_the_first_process_writes_the_weight_file(kinema, recorded, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    answer = kinema("train", "movie-gen-video", "--out", "run")
    assert (answer.code, answer.out, list(recorded)) == (0, "", ["recipe", "run"])


def test_the_recipe_makes_the_weight_file_after_the_stages(kinema, recorded):
    answer = kinema("train", "movie-gen-video", "--out", "run")
    assert list(recorded) == ["recipe", "run", "finish"]
    assert recorded["finish"] == Path("run/final")
    assert answer.out == "the run is in run; its weights are run/final/model.safetensors\n"
    document = kinema("train", "movie-gen-video", "--out", "run", "--json").document
    assert document == {
        "run": "run", "stages": ["codec", "video"], "weights": "run/final/model.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ([], "none"),
        (["--data", "clips"], "nano"),
        (["--data", "clips", "--init", "none"], "none"),
        (["--init", "nano"], "nano"),
        (["--data", "clips", "--preset", "1b"], "none"),  # nano's weights fit no other size
    ],
)
def test_where_training_starts(kinema, recorded, nano, tmp_path, options, start):
    (tmp_path / "clips").mkdir()
    answer = kinema("train", "movie-gen-video", "--out", "run", *options)
    assert (answer.code, answer.err) == (0, "")
    assert recorded["recipe"]["init"] == (nano if start == "nano" else None)
    assert recorded["run"]["settings"]["init"] == (nano.name if start == "nano" else "none")


def test_training_starts_from_a_file_of_ones_own(kinema, recorded, nano, tmp_path):
    mine = nano.rename(tmp_path / "mine.safetensors")
    kinema("train", "movie-gen-video", "--out", "run", "--init", "mine.safetensors")
    assert recorded["recipe"]["init"] == Path(mine.name)
    answer = kinema("train", "movie-gen-video", "--out", "run", "--init", "gone.safetensors")
    assert answer.code == 2
    assert "no weight file at 'gone.safetensors'" in answer.err


def test_dry_run_shows_and_does_nothing(kinema, recorded):
    answer = kinema("train", "movie-gen-video-nano", "--out", "run", "--set", "video.lr=0.5", "--dry-run")
    assert "[video]" in answer.out
    assert "  lr = 0.5" in answer.out
    assert set(recorded) == {"recipe"}
    rows = kinema("train", "movie-gen-video-nano", "--out", "run", "--dry-run", "--json").document["stages"]
    assert rows["codec"]["warmup_steps"] == 20
