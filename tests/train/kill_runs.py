"""Runs that kill themselves: `kill_runs.py FOLDER SEED TRIALS` (a program that test_kill.py starts).

FOLDER/straight is trained without interruption. Each FOLDER/trial_N is trained by processes that die by SIGKILL at a
random event (a batch, a write to disk, a rename, a removal) until one of them reaches the end. Processes are forked
from this one, so that torch is imported once. The last line is JSON: the number of kills of every trial.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import tensorboard.summary.writer.record_writer  # noqa: F401  imported once here, not in every child
import torch
import torch._dynamo  # an optimiser's first step imports it, which takes seconds
from torch import Tensor, nn

from kinema.train import BatchIndex, Stage, run_stages, speed


class Countdown:
    """Kills this process at event number `left`."""

    def __init__(self, left: int) -> None:
        self.left = left

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            return original(*args, **kwargs)

        setattr(owner, name, counted)


def train(out: Path, countdown: Countdown) -> None:
    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, 4))
    two = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

    def batches(index: BatchIndex) -> Tensor:
        countdown.tick()
        return torch.randn(len(index.indices), 4, generator=index.generator())

    def loss(model: nn.Module, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        noise = torch.randn(batch.shape, generator=generator)
        value = (model(batch + noise) - batch).square().mean()
        return value, {"double": 2 * value}

    def validate(model: nn.Module, folder: Path) -> dict[str, float]:
        return {"out": float(model(torch.ones(1, 4)).sum())}

    common: dict[str, Any] = {
        "loss": loss,
        "batches": batches,
        "batch_size": 8,
        "lr": 1e-2,
        "precision": "fp32",
    }
    stages = [
        Stage(name="one", model=one, steps=14, accumulation=2, ema_decay=0.9, log_every=3, checkpoint_every=4,
              validate=validate, validate_every=5, schedule="wsd", warmup_steps=2, **common),
        Stage(name="two", model=two, steps=9, optimizer="muon", log_every=2, checkpoint_every=3, **common),
    ]  # fmt: skip
    run_stages(stages, out, device="cpu")


def attempt(out: Path, events: int) -> int:
    """Train in a forked process that dies at event number `events`; returns its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            countdown = Countdown(events)
            for owner, name in (
                (os, "fsync"),
                (os, "replace"),
                (os, "rename"),
                (os, "mkdir"),
                (shutil, "rmtree"),
            ):
                countdown.watch(owner, name)
            countdown.watch(Path, "unlink")
            countdown.watch(Path, "symlink_to")
            train(out, countdown)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    torch.set_num_threads(1)
    speed.matmul_ceiling = lambda *_: 1.0  # type: ignore[attr-defined]  # a fifth of a second in every child
    folder, seed, trials = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    assert attempt(folder / "straight", 0) == 0
    kills = []
    for trial in range(trials):
        died = 0
        while True:
            status = attempt(folder / f"trial_{trial}", chance.randint(5, 90))
            if status == 0:
                break
            assert status == -signal.SIGKILL, f"exit status {status}"
            died += 1
        kills.append(died)
    print(json.dumps(kills))


if __name__ == "__main__":
    main()
