"""The loop: what it writes, logs and refuses, and that accumulation, prefetching and validation change nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import socket
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.train import BatchIndex, NonFiniteLoss, Stage, read_metrics, run_stages
from tests.train.conftest import MakeStage, curve, largest_difference, weights


def test_run_folder_holds_what_it_should(make_stage: MakeStage, tmp_path: Path) -> None:
    out = tmp_path / "run"
    seen: list[bool] = []

    def validate(model: nn.Module, folder: Path) -> dict[str, float]:
        seen.append(model.training)
        (folder / "picture.txt").write_text("x")
        return {"score": 2.5, "judge/color": 0.5}

    stage = make_stage(validate=validate, validate_every=5, ema_decay=0.9, log_every=4)
    report = run_stages([stage], out, settings={"data": Path.home() / "clips", "note": "x"})
    names = {
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and "tb" not in path.parts
    }
    final = {
        f"final/tiny/{n}"
        for n in ("model.safetensors", "config.json", "train_state.json", "README.md", "DONE")
    }
    saved = {
        f"checkpoints/step_0000000{step}/{name}"
        for step in ("08", "12")
        for name in ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "random.safetensors",
                     "train_state.json", "config.json", "DONE")
    }  # fmt: skip
    samples = {f"samples/step_0000000{step}/picture.txt" for step in ("05", "10", "12")}
    files = {"config.toml", "env.json", "command.txt", "metrics.jsonl", "train.log"}
    assert {
        name for name in names if not name.startswith("checkpoints/latest")
    } == files | final | saved | samples
    assert os.readlink(out / "checkpoints" / "latest") == "step_000000012"
    records = read_metrics(out / "metrics.jsonl")
    assert [record["step"] for record in records] == [4, 5, 8, 10, 12]
    expected = {
        "train/loss", "train/root", "train/grad_norm", "train/lr", "train/samples_per_sec", "train/flops_utilization",
        "time/data", "time/step", "mem/peak_gib",
    }  # fmt: skip
    assert expected <= records[0].keys()
    assert {"val/score", "judge/color"} <= records[1].keys()
    assert seen == [False] * 3
    assert report["tiny"].steps == 12
    assert report["tiny"].metrics["val/score"] == 2.5
    config = tomllib.loads((out / "config.toml").read_text())
    assert config["stages"]["tiny"]["lr"] == 0.01
    assert config["settings"] == {"data": "clips", "note": "x"}


def test_nothing_private_is_written(make_stage: MakeStage, tmp_path: Path) -> None:
    run_stages([make_stage()], tmp_path / "run", settings={"data": str(tmp_path / "clips")})
    for path in (tmp_path / "run").rglob("*"):
        assert socket.gethostname() not in str(path.relative_to(tmp_path)) or len(socket.gethostname()) < 3
        if path.suffix in (".toml", ".json", ".txt", ".md", ".log"):
            assert str(tmp_path) not in path.read_text()


def test_it_learns(make_stage: MakeStage, tmp_path: Path) -> None:
    report = run_stages(
        [make_stage(steps=300, schedule="cosine", warmup_steps=10, log_every=50)], tmp_path / "run"
    )
    losses = [loss for _, loss, _ in curve(tmp_path / "run")]
    assert losses[-1] < 0.7 * losses[0]
    assert report["tiny"].metrics["train/loss"] == losses[-1]


def test_accumulation_changes_nothing(make_stage: MakeStage, tmp_path: Path) -> None:
    def plain_loss(
        model: nn.Module, batch: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        return (model(batch) - batch.flip(1)).square().mean(), {}

    whole = make_stage(loss=plain_loss, accumulation=1)
    parts = make_stage(loss=plain_loss, accumulation=4)
    run_stages([whole], tmp_path / "1x4")
    run_stages([parts], tmp_path / "4x1")
    assert largest_difference(weights(whole.model), weights(parts.model)) < 1e-6
    for a, b in zip(curve(tmp_path / "1x4"), curve(tmp_path / "4x1"), strict=True):
        assert a == pytest.approx(b, rel=1e-5)


def test_the_split_over_processes_gives_every_sample_once_with_its_own_seed(make_stage: MakeStage) -> None:
    alone = make_stage(accumulation=4)
    shared = make_stage(accumulation=2)
    one = [alone.microbatch(3, turn, rank=0, world=1, seed=0) for turn in range(4)]
    two = [shared.microbatch(3, turn, rank=rank, world=2, seed=0) for turn in range(2) for rank in range(2)]
    assert [index.indices for index in one] == [index.indices for index in two]
    assert [i for index in one for i in index.indices] == list(range(24, 32))
    assert [index.generator().initial_seed() for index in one] == [
        index.generator().initial_seed() for index in two
    ]
    assert len({index.generator().initial_seed() for index in one}) == 4


def test_prefetch_changes_nothing(make_stage: MakeStage, tmp_path: Path) -> None:
    plain, ahead = make_stage(), make_stage(prefetch=3)
    run_stages([plain], tmp_path / "a")
    run_stages([ahead], tmp_path / "b")
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert threading.active_count() == 1


def test_seed_decides(make_stage: MakeStage, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_stages([make_stage()], tmp_path / name, seed=seed)
    assert curve(tmp_path / "a") == curve(tmp_path / "b") != curve(tmp_path / "c")


def test_the_model_is_left_with_the_averaged_weights_and_so_is_final(
    make_stage: MakeStage, tmp_path: Path
) -> None:
    stage = make_stage(ema_decay=0.99)
    run_stages([stage], tmp_path / "run")
    final = load_file(tmp_path / "run/final/tiny/model.safetensors")
    checkpoint = tmp_path / "run/checkpoints/step_000000012"
    assert largest_difference(weights(stage.model), final) == 0.0
    assert largest_difference(load_file(checkpoint / "ema.safetensors"), final) == 0.0
    assert largest_difference(load_file(checkpoint / "model.safetensors"), final) > 1e-4


def test_validation_sees_the_average_and_leaves_no_trace(make_stage: MakeStage, tmp_path: Path) -> None:
    def validate(model: nn.Module, folder: Path) -> dict[str, float]:
        assert not torch.is_grad_enabled()
        torch.rand(3)
        return {"norm": float(model.blocks[0].weight.norm())}  # type: ignore[union-attr, index, operator]

    quiet, watched = (
        make_stage(ema_decay=0.99),
        make_stage(ema_decay=0.99, validate=validate, validate_every=1),
    )
    run_stages([quiet], tmp_path / "a")
    report = run_stages([watched], tmp_path / "b")
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    final = load_file(tmp_path / "b/final/tiny/model.safetensors")
    assert report["tiny"].metrics["val/norm"] == pytest.approx(float(final["blocks.0.weight"].norm()))
    assert not list((tmp_path / "b/samples").iterdir())


@pytest.mark.parametrize("where", ["loss", "gradient norm"])
def test_non_finite_stops_with_step_samples_and_rate(
    make_stage: MakeStage, tmp_path: Path, where: str
) -> None:
    model = make_stage().model

    def loss(module: nn.Module, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        value = module(batch).square().mean()
        if float(batch[0, 0]) == 7.0:
            value = value * math.nan if where == "loss" else torch.sqrt(value - value.detach())
        return value, {}

    def batches(index: BatchIndex) -> Tensor:
        return torch.full((4, 6), 7.0) if index.step == 5 and index.microbatch == 1 else torch.ones(4, 6)

    stage = make_stage(model=model, loss=loss, batches=batches, accumulation=2)
    with pytest.raises(NonFiniteLoss) as caught:
        run_stages([stage], tmp_path / "run")
    text = str(caught.value)
    samples = "44-47" if where == "loss" else "40-47"
    assert re.search(
        rf"the {where} is (nan|inf) in stage 'tiny' at step 5 \(samples {samples}, learning rate 0.01\)", text
    )
    assert all(bool(torch.isfinite(value).all()) for value in weights(stage.model).values())
    assert (tmp_path / "run/checkpoints/step_000000004/DONE").exists()


def test_clipping_bounds_the_update_and_logs_the_norm_before_it(
    make_stage: MakeStage, tmp_path: Path
) -> None:
    seen: list[float] = []
    model = make_stage().model

    class Spy(torch.optim.AdamW):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            grads = [p.grad for group in self.param_groups for p in group["params"]]
            seen.append(float(torch.stack([g.norm() for g in grads]).norm()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Spy)
        run_stages([make_stage(model=model, clip_norm=1e-3, steps=2)], tmp_path / "run")
    logged = [norm for _, _, norm in curve(tmp_path / "run")]
    assert all(value == pytest.approx(1e-3, rel=1e-3) for value in seen)
    assert all(value > 1e-2 for value in logged)


def plateau_stage(make_stage: MakeStage, **changes: Any) -> Stage:
    """A stage whose validation always tells the same."""
    settings: dict[str, Any] = {
        "schedule": "plateau", "plateau_metric": "score", "plateau_patience": 1, "plateau_factor": 0.1, "steps": 6,
        "validate": lambda model, folder: {"score": 1.0}, "validate_every": 1,
    }  # fmt: skip
    return make_stage(**(settings | changes))


def test_plateau_lowers_the_rate(make_stage: MakeStage, tmp_path: Path) -> None:
    run_stages([plateau_stage(make_stage)], tmp_path / "run")
    rates = [record["train/lr"] for record in read_metrics(tmp_path / "run/metrics.jsonl")]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-4])


def test_a_plateau_that_watches_nothing_is_refused(make_stage: MakeStage, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="watches 'val/loss' and the validation gives val/score"):
        run_stages([plateau_stage(make_stage, plateau_metric="loss")], tmp_path / "a")
    for changes in ({"validate": None}, {"validate_every": 0}):
        with pytest.raises(UserError, match="set validate and validate_every"):
            run_stages([plateau_stage(make_stage, **changes)], tmp_path / "b")
    with pytest.raises(UserError, match=r"plateau_factor=1\.0 must lie between 0 and 1"):
        run_stages([plateau_stage(make_stage, plateau_factor=1.0)], tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 8, "accumulation": 3}, "choose a multiple of 3"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"ema_decay": 1.0}, "ema_decay=1.0"),
        ({"warmup_steps": 12}, "warmup_steps=12 must be less than steps=12"),
        ({"name": "a/b"}, "letters, digits"),
        ({"precision": "fp8"}, "auto, fp32 or bf16"),
    ],
)
def test_bad_settings_are_refused(
    make_stage: MakeStage, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        run_stages([make_stage(**changes)], tmp_path / "run")
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_other_refusals(make_stage: MakeStage, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two stages have the same name"):
        run_stages([make_stage(), make_stage()], tmp_path / "run")
    with pytest.raises(UserError, match="choose auto or never"):
        run_stages([make_stage()], tmp_path / "run", resume="always")
    with pytest.raises(UserError, match="choose auto, cpu, cuda or mps"):
        run_stages([make_stage()], tmp_path / "run", device="gpu")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the run folder run: Not a directory; free space"):
        run_stages([make_stage()], tmp_path / "file" / "run")


def test_progress_lines_and_the_announcement(
    make_stage: MakeStage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="kinema.train"):
        run_stages([make_stage(log_every=4)], tmp_path / "run")
    assert (
        "126 parameters (126 trainable), 12 steps of 8 samples (1 processes x 1 microbatches), float32 on cpu"
        in caplog.text
    )
    assert "FLOPs a step" in caplog.text
    assert caplog.text.count("samples/s") == 3
    assert "tiny 12/12" in (tmp_path / "run/train.log").read_text()


def test_a_bar_can_be_shown(
    make_stage: MakeStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stages([make_stage()], tmp_path / "run", progress=True)
    assert "tiny" in capsys.readouterr().err


def test_flops_are_counted_once_and_right(make_stage: MakeStage, tmp_path: Path) -> None:
    run_stages([make_stage(accumulation=2)], tmp_path / "run")
    state = json.loads((tmp_path / "run/checkpoints/step_000000012/train_state.json").read_text())
    layer = 2 * 4 * 6 * 6  # forward of one linear layer on a microbatch of 4; backward is twice that
    assert state["flops"] == 3 * layer * 3 - layer  # the first layer needs no gradient of its input
