"""Two processes under torchrun: `distributed_runs.py FOLDER ddp|fsdp STEPS [...]` (test_distributed.py starts it).

Run by plain python it trains in one process with twice the accumulation.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.train import BatchIndex, Stage, run_stages


class Net(nn.Module):
    """The loss calls `encode`, not forward, and one weight lies outside the blocks."""

    def __init__(self) -> None:
        super().__init__()
        # Other weights on each process: training must begin from the first one's.
        torch.manual_seed(int(os.environ.get("RANK", "0")))
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(5, 5), nn.Tanh()) for _ in range(2)])
        self.gain = nn.Parameter(torch.ones(5, 5))
        self.dropout = nn.Dropout(0.1)

    def encode(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = self.dropout(block(x))
        return x @ self.gain


def batches(index: BatchIndex) -> Tensor:
    return torch.stack([torch.randn(5, generator=torch.Generator().manual_seed(i)) for i in index.indices])


def loss(model: nn.Module, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    noise = torch.randn(batch.shape, generator=generator)
    value = (model.encode(batch + 0.1 * noise) - batch).square().mean()  # type: ignore[operator]
    return value, {"twice": 2 * value}


def validate(model: nn.Module, folder: Path) -> dict[str, float]:
    # "flat" gets better on the second process alone: all must drop the rate by what the first one sees.
    better = float(folder.name.removeprefix("step_")) * int(os.environ.get("RANK", "0"))
    return {"sum": float(model.encode(torch.ones(2, 5)).sum()), "flat": 100.0 - better}  # type: ignore[operator]


def main(jobs: list[str]) -> None:
    torch.set_num_threads(1)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    for out, parallel, steps in zip(jobs[::3], jobs[1::3], jobs[2::3], strict=True):
        model = Net()
        common: dict[str, Any] = {"loss": loss, "batches": batches, "batch_size": 8, "precision": "fp32"}
        stage = Stage(
            name="net", model=model, steps=int(steps), accumulation=4 // world, lr=1e-2, ema_decay=0.9, log_every=2,
            clip_norm=0.5, weight_decay=0.01, validate=validate, validate_every=2, checkpoint_every=4,
            schedule="plateau", plateau_metric="flat", plateau_patience=0, **common,
        )  # fmt: skip
        run_stages([stage], out, device="cpu", parallel=parallel)  # type: ignore[arg-type]
        own = {name: float(value.double().sum()) for name, value in model.state_dict().items()}
        Path(f"{out}/left_in_model_{os.environ.get('RANK', '0')}.txt").write_text(repr(own))


if __name__ == "__main__":
    main(sys.argv[1:])
