"""`kinema train`: overrides by name, limits, and what reaches the loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import kinema.train
from kinema import hub
from kinema.cli.train import apply_override, parse_override
from kinema.errors import UserError
from kinema.train import Stage


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
    """The recipe and the loop replaced: what each was asked."""
    asked: dict[str, Any] = {}

    def recipe(**settings: Any) -> list[Stage]:
        asked["recipe"] = settings
        return stages()

    def run_stages(given: list[Stage], out: Any, **settings: Any) -> None:
        asked["run"] = {"stages": given, "out": out, **settings}

    monkeypatch.setattr(hub, "resolve", lambda path: recipe)
    monkeypatch.setattr(kinema.train, "run_stages", run_stages)
    return asked


def test_what_reaches_the_loop(kinema, recorded, tmp_path):
    (tmp_path / "clips").mkdir()
    answer = kinema(
        "train", "movie-gen-video-nano", "--out", "runs/a", "--data", "clips", "--max-steps", "10", "--seed", "3",
        "--set", "video.lr=0.5", "--set", "codec.batch_size=4", "--resume", "never", "--device", "cpu",
    )  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    assert {name: str(value) for name, value in recorded["recipe"].items()} == {
        "preset": "nano", "data": "clips", "seed": "3", "init": "None",
    }  # fmt: skip
    run = recorded["run"]
    assert [(s.steps, s.warmup_steps, s.lr, s.batch_size) for s in run["stages"]] == [
        (10, 9, 1e-3, 4),
        (10, 0, 0.5, 2),
    ]
    assert (str(run["out"]), run["resume"], run["seed"], run["device"]) == ("runs/a", "never", 3, "cpu")
    assert run["settings"]["data"] == "clips"


def test_dry_run_shows_and_does_nothing(kinema, recorded):
    answer = kinema("train", "movie-gen-video-nano", "--out", "run", "--set", "video.lr=0.5", "--dry-run")
    assert "[video]" in answer.out
    assert "  lr = 0.5" in answer.out
    assert "run" not in recorded
    rows = kinema("train", "movie-gen-video-nano", "--out", "run", "--dry-run", "--json").document["stages"]
    assert rows["codec"]["warmup_steps"] == 20
