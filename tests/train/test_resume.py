"""A run that was stopped, by a signal, a crash or its end, goes on as if it never had been; what stays of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from kinema.errors import UserError
from kinema.train import Preempted, Stage, read_metrics, run_stages
from tests.train.conftest import MakeStage, curve, largest_difference, stop_at, weights


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
