"""Nano itself, trained as a user does it: killed and continued, and on two processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kinema.train import read_metrics

TIMES = {"train/samples_per_sec", "train/flops_utilization", "time/step", "time/data", "mem/peak_gib"}
ARGUMENTS = ["-m", "kinema", "train", "movie-gen-video", "--init", "nano", "--set", "finetune.log_every=1"]


def command(out: Path, steps: int, *settings: str, processes: int = 1) -> list[str]:
    sets = [word for setting in settings for word in ("--set", f"finetune.{setting}")]
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*launcher, *ARGUMENTS, "--max-steps", str(steps), "--out", str(out), *sets]


def start(words: list[str], **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, **more
    )


def finished(words: list[str]) -> None:
    assert start(words).wait() == 0


def curve(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in TIMES} for r in read_metrics(out / "metrics.jsonl")]


def steps_done(out: Path) -> int:
    file = out / "metrics.jsonl"
    return len(file.read_bytes().splitlines()) if file.exists() else 0


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_nano_killed_at_five_random_steps_ends_with_the_same_bits(tmp_path: Path) -> None:
    settings = ("batch_size=4", "checkpoint_every=3")
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    finished(command(straight, 24, *settings))
    chance, deaths = random.Random(0), []
    for first in range(0, 20, 4):
        process = start(command(killed, 24, *settings))
        fatal = first + chance.randint(1, 4)
        while steps_done(killed) < fatal and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
        deaths.append(steps_done(killed))
    finished(command(killed, 24, *settings))
    assert deaths == sorted(deaths)
    assert curve(killed) == curve(straight)
    assert len(curve(killed)) == 24
    for file in ("final/model.safetensors", "checkpoints/latest/optimizer.safetensors"):
        assert (killed / file).read_bytes() == (straight / file).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_nano_on_two_processes_is_nano_on_one(tmp_path: Path, parallel: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    exact = ["--precision", "fp32"]
    finished([*command(one, 4, "batch_size=4", "accumulation=2"), *exact])
    finished([*command(two, 4, "batch_size=4", processes=2), *exact, "--parallel", parallel])
    for a, b in zip(curve(one), curve(two), strict=True):
        assert a["train/loss"] == pytest.approx(b["train/loss"], rel=1e-4)
        assert a["train/grad_norm"] == pytest.approx(b["train/grad_norm"], rel=1e-3)
    first, second = load_file(one / "final/model.safetensors"), load_file(two / "final/model.safetensors")
    for name, value in first.items():
        torch.testing.assert_close(second[name].float(), value.float(), atol=2e-3, rtol=2e-3)
