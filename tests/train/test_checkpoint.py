"""Checkpoint folders: whole or not at all, damage found, no pickle, retention."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.train import Stage
from kinema.train.checkpoint import damage, newest_first, point_latest, read_folder, retain, write_folder
from kinema.train.ema import EMA
from kinema.train.optim import build_optimizers
from kinema.train.schedules import Plateau
from kinema.train.state import TrainState, load_random, load_weights, random_tensors


def write(folder: Path, value: float = 1.0) -> Path:
    write_folder(
        folder, {"model": {"w": torch.full((3,), value)}}, {"train_state.json": json.dumps({"step": 1})}
    )
    return folder


def test_round_trip_and_no_leftovers(tmp_path: Path) -> None:
    folder = write(tmp_path / "step_000000001")
    tensors, state = read_folder(folder)
    assert tensors["model"]["w"].tolist() == [1, 1, 1]
    assert state == {"step": 1}
    assert damage(folder) is None
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000001"]


@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing", "no DONE", "bad DONE"])
def test_damage_is_found_and_the_one_before_is_used(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = write(tmp_path / "step_000000001"), write(tmp_path / "step_000000002")
    file = bad / "model.safetensors"
    content = file.read_bytes()
    if harm == "truncated":
        file.write_bytes(content[:-4])
    elif harm == "flipped":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "missing":
        file.unlink()
    elif harm == "no DONE":
        (bad / "DONE").unlink()
    else:
        (bad / "DONE").write_text("{")
    assert damage(bad) is not None
    assert next(newest_first(tmp_path)) == good
    assert "step_000000002 is passed over" in caplog.text


def test_a_failed_write_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "step_000000001", 1.0)

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write(folder, 2.0)
    assert damage(folder) is None
    assert read_folder(folder)[0]["model"]["w"][0] == 1.0
    assert len(list(tmp_path.iterdir())) == 1


def test_retention_keeps_the_newest_and_clears_wrecks(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write(tmp_path / f"step_00000000{step}")
    (tmp_path / "step_000000002" / "DONE").unlink()
    (tmp_path / ".step_000000004.tmp").mkdir()
    retain(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000003"]


def test_latest_is_a_relative_link(tmp_path: Path) -> None:
    for step in (1, 2):
        point_latest(tmp_path, write(tmp_path / f"step_00000000{step}"))
    assert os.readlink(tmp_path / "latest") == "step_000000002"


def test_tied_weights_can_be_written(tmp_path: Path) -> None:
    weight = torch.arange(3.0)
    write_folder(
        tmp_path / "step_1",
        {"model": {"a": weight, "b": weight, "c": weight[1:]}},
        {"train_state.json": "{}"},
    )
    tensors, _ = read_folder(tmp_path / "step_1")
    assert tensors["model"]["b"].tolist() == [0, 1, 2]
    assert tensors["model"]["c"].tolist() == [1, 2]


def test_all_random_sources_come_back() -> None:
    tensors = random_tensors()
    version, words, gauss = random.getstate()
    drawn = (random.random(), np.random.rand(), np.random.randn(), torch.rand(3))
    load_random(tensors, json.loads(json.dumps([version, list(words), gauss])))
    again = (random.random(), np.random.rand(), np.random.randn(), torch.rand(3))
    assert drawn[:3] == again[:3]
    assert torch.equal(drawn[3], again[3])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_state_round_trip_continues_to_the_same_weights(
    make_stage: Callable[..., Stage], optimizer: str
) -> None:
    def build() -> TrainState:
        model = make_stage().model
        return TrainState(
            stage="tiny",
            model=model,
            optimizers=build_optimizers(model, optimizer=optimizer),  # type: ignore[arg-type]
            ema=EMA(model, 0.9),
            plateau=Plateau(),
        )

    def step(state: TrainState) -> None:
        for parameter in state.model.parameters():
            parameter.grad = torch.sin(parameter.detach() * 7)
        for one in state.optimizers:
            one.step()
        assert state.ema is not None
        state.ema.update(state.model)
        state.step += 1

    straight, first, second = build(), build(), build()
    for _ in range(3):
        step(straight)
        step(first)
    files = {name: {k: v.clone() for k, v in group.items()} for name, group in first.gather().items()}
    second.load(files, json.loads(json.dumps(first.scalars())), "test")
    for _ in range(3):
        step(straight)
        step(second)
    assert second.step == 6
    for a, b in zip(straight.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert straight.ema is not None
    assert second.ema is not None
    assert all(
        torch.equal(straight.ema.shadow[name], second.ema.shadow[name]) for name in straight.ema.shadow
    )


def test_weights_that_do_not_fit_are_refused(make_stage: Callable[..., Stage]) -> None:
    model = make_stage().model
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"do not fit this Tiny: 1 is unexpected \(extra\)"):
        load_weights(model, weights | {"extra": torch.zeros(1)}, "x")
    with pytest.raises(ValueError, match=r"1 is missing \(blocks\.0\.bias\)"):
        load_weights(model, {k: v for k, v in weights.items() if k != "blocks.0.bias"}, "x")
    with pytest.raises(ValueError, match=r"blocks\.0\.bias is \(7,\) and should be \(6,\)"):
        load_weights(model, weights | {"blocks.0.bias": torch.zeros(7)}, "x")
