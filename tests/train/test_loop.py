"""The loop: what it writes, what it refuses, and that accumulation and resume change nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import signal
import socket
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.train import BatchIndex, NonFiniteLoss, Preempted, Stage, read_metrics, run_stages

MakeStage = Callable[..., Stage]


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def curve(out: Path) -> list[tuple[int, float, float]]:
    """Step, loss and gradient norm: everything in the metrics that is no time."""
    return [(r["step"], r["train/loss"], r["train/grad_norm"]) for r in read_metrics(out / "metrics.jsonl")]


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


def stop_at(step: int, action: Callable[[], Any]) -> Callable[[BatchIndex], Tensor]:
    def batches(index: BatchIndex) -> Tensor:
        if index.step == step:
            action()
        return torch.stack(
            [torch.randn(6, generator=torch.Generator().manual_seed(i)) for i in index.indices]
        )

    return batches


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signal_saves_and_the_next_run_continues(make_stage: MakeStage, tmp_path: Path, signum: int) -> None:
    before = signal.getsignal(signum)
    straight = make_stage(ema_decay=0.9, log_every=5)
    run_stages([straight], tmp_path / "a")
    stopped = make_stage(ema_decay=0.9, log_every=5, batches=stop_at(6, lambda: os.kill(os.getpid(), signum)))
    with pytest.raises(Preempted) as caught:
        run_stages([stopped], tmp_path / "b")
    assert caught.value.code == 128 + signum
    assert caught.value.run_step == 7
    assert signal.getsignal(signum) is before
    assert (tmp_path / "b" / "checkpoints" / "step_000000007" / "DONE").exists()
    again = make_stage(ema_decay=0.9, log_every=5)
    run_stages([again], tmp_path / "b")
    assert largest_difference(weights(straight.model), weights(again.model)) == 0.0
    assert curve(tmp_path / "a") == curve(tmp_path / "b")


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


def test_corrupt_newest_falls_back_to_the_one_before(
    make_stage: MakeStage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight = make_stage()
    run_stages([straight], tmp_path / "a")
    with pytest.raises(RuntimeError, match="crash"):
        run_stages(
            [make_stage(batches=stop_at(10, lambda: (_ for _ in ()).throw(RuntimeError("crash"))))],
            tmp_path / "b",
        )
    newest = tmp_path / "b/checkpoints/step_000000008/optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-8])
    again = make_stage()
    run_stages([again], tmp_path / "b")
    assert "step_000000008 is passed over" in caplog.text
    assert largest_difference(weights(straight.model), weights(again.model)) == 0.0
    assert curve(tmp_path / "a") == curve(tmp_path / "b")


def test_resume_never_refuses_and_touches_nothing(make_stage: MakeStage, tmp_path: Path) -> None:
    run_stages([make_stage()], tmp_path / "run", resume="never")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="already holds a run and resume is 'never'"):
        run_stages([make_stage()], tmp_path / "run", resume="never")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_finished_runs_return_at_once_with_the_trained_weights(make_stage: MakeStage, tmp_path: Path) -> None:
    first = make_stage(ema_decay=0.9)
    report = run_stages([first], tmp_path / "run")
    second = make_stage(
        ema_decay=0.9, batches=stop_at(0, lambda: pytest.fail("a finished stage asked for data"))
    )
    again = run_stages([second], tmp_path / "run")
    assert again == report
    assert largest_difference(weights(first.model), weights(second.model)) == 0.0


def test_retention(make_stage: MakeStage, tmp_path: Path) -> None:
    run_stages([make_stage(checkpoint_every=1)], tmp_path / "run", keep_last=3)
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").glob("step_*"))
    assert kept == ["step_000000010", "step_000000011", "step_000000012"]


def test_more_steps_continue_the_last_stage(
    make_stage: MakeStage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight, grown = make_stage(steps=20), make_stage(steps=20)
    run_stages([straight], tmp_path / "a")
    run_stages([make_stage(steps=12)], tmp_path / "b")
    run_stages([grown], tmp_path / "b")
    assert largest_difference(weights(straight.model), weights(grown.model)) == 0.0
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert "stages.tiny.steps = 20" in caplog.text


def two_stages(make_stage: MakeStage, crash_at: int | None = None, first_steps: int = 6) -> list[Stage]:
    one = make_stage(name="one", steps=first_steps, ema_decay=0.9)
    model = make_stage().model

    def start_from_one(module: nn.Module) -> None:
        module.load_state_dict(one.model.state_dict())

    def crash() -> None:
        raise RuntimeError("crash")

    batches = stop_at(-1 if crash_at is None else crash_at, crash)
    return [one, make_stage(name="two", model=model, prepare=start_from_one, steps=8, batches=batches)]


@pytest.mark.parametrize("crash_at", [0, 2, 5])
def test_stages_follow_each_other_and_resume_in_the_second(
    make_stage: MakeStage, tmp_path: Path, crash_at: int
) -> None:
    straight = two_stages(make_stage)
    run_stages(straight, tmp_path / "a")
    with pytest.raises(RuntimeError, match="crash"):
        run_stages(two_stages(make_stage, crash_at), tmp_path / "b")
    resumed = two_stages(make_stage)
    run_stages(resumed, tmp_path / "b")
    for a, b in zip(straight, resumed, strict=True):
        assert largest_difference(weights(a.model), weights(b.model)) == 0.0
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert [step for step, _, _ in curve(tmp_path / "b")] == list(range(1, 15))
    assert (tmp_path / "b/final/one/DONE").exists()


def test_an_earlier_stage_cannot_grow_after_the_next_began(make_stage: MakeStage, tmp_path: Path) -> None:
    run_stages(two_stages(make_stage), tmp_path / "run")
    with pytest.raises(UserError, match="start a new run folder"):
        run_stages(two_stages(make_stage, first_steps=9), tmp_path / "run")


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


def test_plateau_lowers_the_rate(make_stage: MakeStage, tmp_path: Path) -> None:
    stage = make_stage(
        schedule="plateau", plateau_metric="score", plateau_patience=1, plateau_factor=0.1, steps=6,
        validate=lambda model, folder: {"score": 1.0}, validate_every=1,
    )  # fmt: skip
    run_stages([stage], tmp_path / "run")
    rates = [record["train/lr"] for record in read_metrics(tmp_path / "run/metrics.jsonl")]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-4])


def falling_stage(make_stage: MakeStage, crash_at: int = -1, **changes: Any) -> Stage:
    """A stage whose validation tells a made-up run, by the step in its folder's name."""
    losses = [9.0, 8.0, 7.99, 8.1, 7.5, 7.6, 7.6, 7.6, 7.6, 7.6, 7.6, 7.6]

    def crash() -> None:
        raise RuntimeError("crash")

    settings: dict[str, Any] = {
        "schedule": "plateau", "plateau_metric": "loss", "plateau_patience": 1, "plateau_threshold": 0.01,
        "checkpoint_every": 1, "validate_every": 1, "ema_decay": 0.9, "lr_floor": 0.2,
        "batches": stop_at(crash_at, crash),
        "validate": lambda model, folder: {"loss": losses[int(folder.name.removeprefix("step_")) - 1]},
    }  # fmt: skip
    return make_stage(**(settings | changes))


@pytest.mark.parametrize("crash_at", [3, 4, 7, 9])
def test_a_plateau_resumes_to_the_bit(make_stage: MakeStage, tmp_path: Path, crash_at: int) -> None:
    straight = falling_stage(make_stage)
    run_stages([straight], tmp_path / "a")
    with pytest.raises(RuntimeError, match="crash"):
        run_stages([falling_stage(make_stage, crash_at)], tmp_path / "b")
    resumed = falling_stage(make_stage)
    run_stages([resumed], tmp_path / "b")
    assert largest_difference(weights(straight.model), weights(resumed.model)) == 0.0
    rates = [[r["train/lr"] for r in read_metrics(tmp_path / run / "metrics.jsonl")] for run in "ab"]
    assert rates[0] == rates[1]
    assert rates[0] == pytest.approx([1e-2] * 4 + [5e-3] * 3 + [2.5e-3] * 2 + [2e-3] * 3)
    assert curve(tmp_path / "a") == curve(tmp_path / "b")


def test_a_plateau_that_watches_nothing_is_refused(make_stage: MakeStage, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="watches 'val/score' and the validation gives val/loss"):
        run_stages([falling_stage(make_stage, plateau_metric="score")], tmp_path / "a")
    for changes in ({"validate": None}, {"validate_every": 0}):
        with pytest.raises(UserError, match="set validate and validate_every"):
            run_stages([falling_stage(make_stage, **changes)], tmp_path / "b")
    with pytest.raises(UserError, match=r"plateau_factor=1\.0 must lie between 0 and 1"):
        run_stages([falling_stage(make_stage, plateau_factor=1.0)], tmp_path / "b")


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
