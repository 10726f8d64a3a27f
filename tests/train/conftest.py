"""A network of 200 weights, with dropout and running statistics, that learns in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kinema.train import BatchIndex, Stage


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
def make_stage() -> Callable[..., Stage]:
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
