"""Precision, arithmetic counts, seeds, data order, the settings file."""

from __future__ import annotations

import math
import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kinema.errors import UserError
from kinema.train import (
    Precision,
    Stage,
    derive_seed,
    per_sample_randn,
    read_metrics,
    seed_everything,
    shuffled,
)
from kinema.train import precision as precision_module
from kinema.train.data import to_device
from kinema.train.flops import count_flops, matmul_ceiling
from kinema.train.folder import public, to_toml
from kinema.train.metrics import Metrics
from kinema.train.progress import duration


@pytest.mark.parametrize(("units", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_follows_the_hardware(
    monkeypatch: pytest.MonkeyPatch, units: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(precision_module, "cpu_has_bfloat16", lambda: units)
    assert Precision.choose("auto", "cpu").compute == expected
    assert Precision.choose("fp32", "cpu").compute == torch.float32


def test_autocast_computes_in_the_chosen_type_and_keeps_the_weights() -> None:
    layer = torch.nn.Linear(4, 4)
    with Precision.choose("bf16", "cpu").autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with Precision.choose("fp32", "cpu").autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32
    with pytest.raises(UserError, match="choose auto, fp32 or bf16"):
        Precision.choose("fp16", "cpu")  # type: ignore[arg-type]


def test_attention_on_the_cpu_is_counted() -> None:
    q = torch.randn(2, 3, 16, 8, requires_grad=True)
    product = 2 * 2 * 3 * 16 * 16 * 8
    with count_flops() as forward:
        out = F.scaled_dot_product_attention(q, q, q)
    with count_flops() as backward:
        out.sum().backward()
    assert forward.total == 2 * product
    assert backward.total == 5 * product
    assert matmul_ceiling(torch.device("cpu")) == matmul_ceiling(torch.device("cpu")) > 0


def test_seeds_are_stable_and_distinct() -> None:
    assert derive_seed("a", 1) == 6222101017213550541  # the same on every machine and release
    assert len({derive_seed(0, "stage", step, micro) for step in range(50) for micro in range(20)}) == 1000
    seed_everything(7)
    first = (random.random(), np.random.rand(), torch.rand(1).item())
    seed_everything(7)
    assert first == (random.random(), np.random.rand(), torch.rand(1).item())


def test_noise_belongs_to_the_sample() -> None:
    together = per_sample_randn([5, 6, 7], (2, 3), seed=1)
    assert torch.equal(together[1:2], per_sample_randn([6], (2, 3), seed=1))
    assert not torch.equal(together[0], together[1])


def test_each_epoch_is_a_new_order_of_everything() -> None:
    epochs = [shuffled(range(start, start + 10), 10, seed=3) for start in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert shuffled(range(5, 15), 10, seed=3) == epochs[0][5:] + epochs[1][:5]


def test_settings_survive_as_toml(make_stage: Callable[..., Stage]) -> None:
    settings = {
        "lr": 3e-4, "big": 1e22, "names": ["a", 'q"uote\n'], "nothing": None, "flag": True, "inf": math.inf,
        "sizes": {"encoder.*": 0.5, "päth": "x"}, "empty": {}, "nested": [[1, 2], [3]], "rows": [{"a": 1}],
    }  # fmt: skip
    got = tomllib.loads(to_toml(settings))
    assert got == {name: value for name, value in settings.items() if value is not None}
    stage = tomllib.loads(to_toml(public(make_stage(lr_scales={"blocks.*": 0.5}))))
    assert stage["model"] == {"class": "Tiny"}
    assert stage["loss"] == "tiny_loss"
    assert stage["lr_scales"] == {"blocks.*": 0.5}


def test_paths_lose_their_private_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert public(tmp_path / "data" / "x") == "data/x"
    assert public("/somewhere/private/x.mp4") == "x.mp4"
    assert public("a/b") == "a/b"


def test_to_device_reaches_into_structures() -> None:
    @dataclass(frozen=True)
    class States:
        embeds: torch.Tensor
        name: str

    batch: dict[str, Any] = {"x": (torch.ones(1), [torch.ones(2)]), "s": States(torch.ones(3), "n"), "k": 4}
    moved = to_device(batch, torch.device("meta"))
    assert (
        moved["x"][0].device.type == moved["x"][1][0].device.type == moved["s"].embeds.device.type == "meta"
    )
    assert (moved["s"].name, moved["k"]) == ("n", 4)


def test_metrics_are_cut_back_and_hold_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = Metrics(path, 0)
    first.write({"step": 1, "train/loss": 1.0})
    position = first.position()
    first.write({"step": 2, "train/loss": 2.0})
    first.close()
    second = Metrics(path, position)
    second.write({"step": 2, "train/loss": math.nan})
    second.close()
    with open(path, "a") as file:
        file.write('{"step": 3, "tr')
    assert read_metrics(path) == [{"step": 1, "train/loss": 1.0}, {"step": 2, "train/loss": None}]


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    metrics = Metrics(tmp_path / "metrics.jsonl", 0, tmp_path / "tb", 0)
    for step in (1, 2, 3):
        metrics.write({"step": step, "stage": "x", "train/loss": 1.0 / step})
    metrics.close()
    resumed = Metrics(tmp_path / "metrics.jsonl", 0, tmp_path / "tb", 2)
    resumed.write({"step": 3, "stage": "x", "train/loss": 9.0})
    resumed.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (1, 1.0),
        (2, 0.5),
        (3, 9.0),
    ]


def test_durations_in_words() -> None:
    assert [duration(x) for x in (5, 600, 7200, 864000)] == ["5 s", "10 min", "2.0 h", "10.0 days"]
