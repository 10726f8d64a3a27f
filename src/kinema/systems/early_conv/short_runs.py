"""One short training of the study: a network, an optimiser and its two settings in, the test error out (section 5).

It has a loop of its own because a study is hundreds of runs of seconds, without checkpoints or a folder each.
"""

# B batch, H W rows and columns

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kinema.data.labelled import LabelledPictures
from kinema.data.preprocessing import Preprocessing
from kinema.systems.early_conv.study import OptimizerKind
from kinema.train.mixing import smooth_targets, soft_cross_entropy
from kinema.train.optim import parameter_groups

PREPARE = Preprocessing()  # the statistics that pixels are normalised with
DIVERGED = 100.0  # percent: what a run counts that ended in numbers that are not finite


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a run is: linear warm-up from a tenth of the rate, then half a cosine to zero."""

    steps: int
    batch_size: int = 128
    warmup: float = 0.1  # of the steps
    smoothing: float = 0.1  # of the labels

    def factor(self, step: int) -> float:
        """On the learning rate of this step, the first of which is 0."""
        rising = self.warmup * self.steps
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return cosine * (1.0 if step >= rising else 0.1 + 0.9 * step / rising)


def build_optimizer(
    network: nn.Module, kind: OptimizerKind, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW (0.9, 0.999) or SGD with momentum 0.9. Norms and biases do not decay, or the comparison is not fair."""
    groups = parameter_groups(dict(network.named_parameters()), weight_decay, lr, {})
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999))
    return torch.optim.SGD(groups, lr=lr, momentum=0.9)


def error_after(
    build: Callable[[], nn.Module],
    train: LabelledPictures,
    test: LabelledPictures,
    schedule: Schedule,
    *,
    optimizer: OptimizerKind,
    lr: float,
    weight_decay: float,
    seed: int = 0,
) -> float:
    """Train a new network and give its error on `test`, in percent; 100 where it diverged.

    The start of the network and the order of the pictures are functions of `seed` alone, so that runs with other
    settings differ by these only. Pictures are mirrored half of the time; there is no averaging of weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
    generator = torch.Generator().manual_seed(seed)
    tuned = build_optimizer(network, optimizer, lr, weight_decay)
    classes = len(train.classes)
    network.train()
    for step in range(schedule.steps):
        chosen = torch.randint(len(train.labels), (schedule.batch_size,), generator=generator)
        mirrored = torch.rand(schedule.batch_size, generator=generator) < 0.5
        images = normalised(train.pixels[chosen])
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        logits = network(images)
        targets = smooth_targets(train.labels[chosen], classes, schedule.smoothing)
        loss = soft_cross_entropy(logits, targets)
        if not bool(loss.isfinite()):
            return DIVERGED
        for group in tuned.param_groups:
            group["lr"] = group["initial_lr"] * schedule.factor(step)
        tuned.zero_grad(set_to_none=True)
        loss.backward()
        tuned.step()
    return measured_error(network, test)


@torch.no_grad()
def measured_error(network: nn.Module, test: LabelledPictures, batch_size: int = 500) -> float:
    """The share of wrong answers, in percent; an answer that is not a number is wrong."""
    network.eval()
    wrong = 0
    for pixels, labels in zip(test.pixels.split(batch_size), test.labels.split(batch_size), strict=True):
        logits = network(normalised(pixels))
        right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
        wrong += int((~right).sum())
    return 100.0 * wrong / len(test)


def normalised(pixels: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) to what the network takes."""
    return PREPARE.normalise(pixels.float() / 255)
