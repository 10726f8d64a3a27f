"""Killed at any point, a run ends with the same weights and the same curve, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kinema.train import read_metrics

PROGRAM = Path(__file__).with_name("kill_runs.py")
TIMES = {"train/samples_per_sec", "train/flops_utilization", "time/step", "time/data", "mem/peak_gib"}


def records(out: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in TIMES}
        for record in read_metrics(out / "metrics.jsonl")
    ]


def compare(folder: Path, seed: int, trials: int) -> list[int]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), str(seed), str(trials)],
        env=environment, capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    kills: list[int] = json.loads(done.stdout.splitlines()[-1])
    straight = folder / "straight"
    assert [record["step"] for record in records(straight)] == [3, 5, 6, 9, 10, 12, 14, 16, 18, 20, 22, 23]
    for trial in range(trials):
        out = folder / f"trial_{trial}"
        assert records(out) == records(straight)
        for name in ("final/one/model", "final/two/model", "checkpoints/latest/optimizer"):
            file = f"{name}.safetensors"
            assert (out / file).read_bytes() == (straight / file).read_bytes(), (
                f"{file} after {kills[trial]} kills"
            )
        left = {path.name for path in (out / "checkpoints").iterdir()}
        assert left == {path.name for path in (straight / "checkpoints").iterdir()}
    return kills


@pytest.mark.timeout(1600)  # seconds on a free machine; it starts dozens of processes
def test_sigkill_anywhere_then_the_same_numbers(tmp_path: Path) -> None:
    kills = compare(tmp_path, seed=0, trials=3)
    assert sum(kills) >= 6


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_sigkill_anywhere_many_times(tmp_path: Path) -> None:
    kills = compare(tmp_path, seed=1, trials=40)
    assert sum(kills) >= 60
