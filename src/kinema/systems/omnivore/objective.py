"""Joint training: every batch is of one kind, drawn from a shuffled order of all data sets (2201.08377, section 3).

order = batch_order([1000, 20, 800], repeats=[1, 10, 1], epoch=0)   # data set of each step
"""

# B batch, C classes

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.systems.omnivore.model import Kind, Omnivore
from kinema.train.mixing import soft_cross_entropy
from kinema.train.schedules import cosine_factor

Place = tuple[int, int]


@dataclass(frozen=True)
class Batch:
    """Normalised pixels of one kind, see `Omnivore`, and targets (B, C) that add up to 1 in each row."""

    kind: Kind
    pixels: Tensor
    targets: Tensor


def repeated(batches: Sequence[int], repeats: Sequence[float]) -> list[int]:
    """Batches that each data set supplies to an epoch: their number times its repeat factor, cut to a whole number."""
    if len(batches) != len(repeats):
        raise UserError(f"{len(batches)} data sets and {len(repeats)} repeat factors: give one for each")
    counts = [int(number * factor) for number, factor in zip(batches, repeats, strict=True)]
    if min(repeats, default=0) <= 0 or min(batches, default=0) < 1 or min(counts) < 1:
        raise UserError(
            f"{list(batches)} batches repeated {list(repeats)} times leave a data set without any"
        )
    return counts


def batch_order(batches: Sequence[int], repeats: Sequence[float], epoch: int, seed: int = 0) -> list[Place]:
    """Which data set supplies each step of an epoch, and which of its batches: pairs of numbers.

    The data sets' turns are shuffled; each goes through its own batches in order, and again when it is repeated: a
    factor repeats batches, never samples within one.
    """
    counts = repeated(batches, repeats)
    turns = torch.tensor([number for number, count in enumerate(counts) for _ in range(count)])
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order, used = [], [0] * len(counts)
    for number in turns[torch.randperm(len(turns), generator=generator)].tolist():
        order.append((number, used[number] % batches[number]))
        used[number] += 1
    return order


def drop_colours(rgbd: Tensor, generator: torch.Generator, rate: float = 0.5) -> Tensor:
    """For a share of the pictures (B, 4, 1, H, W) the three colours become zero, all at once; disparity stays."""
    drop = torch.rand(len(rgbd), generator=generator, device=generator.device).to(rgbd.device) < rate
    return torch.cat([rgbd[:, :3] * ~drop.view(-1, 1, 1, 1, 1), rgbd[:, 3:]], 1)


def joint_loss(network: Omnivore, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the head that belongs to the batch, and logs: the same under the kind's name, and the accuracy.

    A step touches one head alone: a run over several processes has to allow parameters without gradients.
    """
    logits = network(batch.pixels, batch.kind)
    if logits.shape != batch.targets.shape:
        raise ValueError(
            f"targets are {tuple(batch.targets.shape)} and the head for {batch.kind} gives {tuple(logits.shape)}"
        )
    loss = soft_cross_entropy(logits, batch.targets)
    right = (logits.argmax(1) == batch.targets.argmax(1)).float().mean()
    return loss, {f"{batch.kind}/loss": loss.detach(), f"{batch.kind}/top1": right}


def learning_rate(progress: float, peak: float = 2e-3) -> float:
    """At a share of the run from 0 to 1: up in a line for a tenth, down a cosine to a tenth of it, down in a line."""
    progress = min(max(progress, 0.0), 1.0)
    start, floor, end = peak * 1e-3, peak * 0.1, peak * 5e-4
    if progress < 0.1:
        return start + (peak - start) * progress / 0.1
    if progress < 0.9:
        return peak * cosine_factor((progress - 0.1) / 0.8, 0.1)
    return floor + (end - floor) * (progress - 0.9) / 0.1


def weight_decay_groups(network: Omnivore, decay: float = 0.05) -> list[dict[str, object]]:
    """Parameters for AdamW: matrices and kernels decay, biases, norms and offsets do not."""
    plain = [name.endswith("offsets") or parameter.ndim < 2 for name, parameter in network.named_parameters()]
    parameters = list(network.parameters())
    return [
        {"params": [p for p, no in zip(parameters, plain, strict=True) if not no], "weight_decay": decay},
        {"params": [p for p, no in zip(parameters, plain, strict=True) if no], "weight_decay": 0.0},
    ]
