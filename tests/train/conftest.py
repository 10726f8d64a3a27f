"""A network of 126 weights that learns in milliseconds, and what its runs are compared by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kinema.train import BatchIndex, Stage, read_metrics

MakeStage = Callable[..., Stage]


class Tiny(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Linear(6, 6) for _ in range(3)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = self.dropout(torch.tanh(block(x)))
        return x


def tiny_loss(
    model: nn.Module, batch: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    noise = torch.randn(batch.shape, generator=generator)
    loss = (model(batch + 0.1 * noise) - batch.flip(1)).square().mean()
    return loss, {"root": loss.sqrt()}


def tiny_batches(index: BatchIndex) -> Tensor:
    rows = [torch.randn(6, generator=torch.Generator().manual_seed(i)) for i in index.indices]
    return torch.stack(rows)


@pytest.fixture
def make_stage() -> MakeStage:
    torch.set_num_threads(1)

    def make(**changes: Any) -> Stage:
        defaults: dict[str, Any] = {
            "name": "tiny",
            "model": Tiny(),
            "loss": tiny_loss,
            "batches": tiny_batches,
            "steps": 12,
            "batch_size": 8,
            "lr": 1e-2,
            "log_every": 1,
            "checkpoint_every": 4,
            "precision": "fp32",
        }
        return Stage(**(defaults | changes))

    return make


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def curve(out: Path) -> list[tuple[int, float, float]]:
    """Step, loss and gradient norm: everything in the metrics that is no time."""
    return [(r["step"], r["train/loss"], r["train/grad_norm"]) for r in read_metrics(out / "metrics.jsonl")]


def stop_at(step: int, action: Callable[[], Any]) -> Callable[[BatchIndex], Tensor]:
    """The batches of a tiny stage, and something that happens before the one of `step`."""

    def batches(index: BatchIndex) -> Tensor:
        if index.step == step:
            action()
        return tiny_batches(index)

    return batches
