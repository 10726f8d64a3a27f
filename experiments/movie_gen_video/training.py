"""The small transformer that the experiments train, its batches of clips and pictures, and nano's recipe for it."""

# B batch, C latent channels, T H W latent frames, rows, columns

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.flow.objective import flow_matching_loss
from kinema.flow.solvers import Velocity
from kinema.flow.times import logit_normal
from kinema.systems.movie_gen.video.model import MovieGenTransformer, preset
from kinema.train import BatchIndex, Stage, make_generator, run_stages
from kinema.train.flops import count_flops

from study import Encoded, Study
from world import FRAMES, GRID

TRAIN_STEPS, BATCH = 600, 32
TEXT_DROP = 0.1

Objective = Callable[[Velocity, Tensor, torch.Generator], Tensor]


@dataclass
class Batch:
    """Latents (B, C, T, H, W) and rows of the table of texts (B,)."""

    latent: Tensor
    text: Tensor


def drawn(data: Encoded, index: BatchIndex, times: int = 1) -> Batch:
    """The batch of a step, `times` as large as the stage's: rows drawn with the run's seed and the step."""
    rows = torch.randint(len(data.text), (times * len(index.indices),), generator=index.generator())
    return Batch(data.latent[rows], data.text[rows])


class Mixture:
    """Batches of clips, and every `picture_every`-th one of pictures: four for a clip, so as many cells of latent."""

    def __init__(self, study: Study, picture_every: int) -> None:
        self.study, self.picture_every = study, picture_every

    def __call__(self, index: BatchIndex) -> Batch:
        if self.picture_every and index.step % self.picture_every == self.picture_every - 1:
            return drawn(self.study.pictures, index, times=FRAMES // 4)
        return drawn(self.study.clips, index)


def step_flops(study: Study, batches: Callable[[BatchIndex], Batch], batch_size: int) -> int:
    """FLOPs of the network, forward and backward, in step 0 of a stage with these batches."""
    batch = batches(BatchIndex(step=0, microbatch=0, indices=range(batch_size)))
    model = new_model(0)
    with count_flops() as counted:
        states = study.states(batch.text)
        loss, _ = flow_matching_loss(lambda x, t: model(x, t, states), batch.latent, make_generator("flops"))
        loss.backward()
    return counted.total


def straight_loss(velocity: Velocity, x: Tensor, generator: torch.Generator) -> Tensor:
    """Flow matching as in nano's recipe."""
    return flow_matching_loss(velocity, x, generator, logit_normal)[0]


def new_model(seed: int) -> MovieGenTransformer:
    """The small transformer: 1.0 M parameters, 64 tokens a clip."""
    torch.manual_seed(seed)
    return MovieGenTransformer(preset("nano", dim=128, depth=4, num_heads=4, hidden=208, grid=GRID))


def train(
    study: Study,
    model: nn.Module,
    objective: Objective,
    batches: Callable[[BatchIndex], Batch],
    steps: int,
    batch_size: int,
    seed: int,
    **settings: Any,
) -> None:
    """Train in place with the settings of nano's recipe; the model ends with its averaged weights."""

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        dropped = torch.rand(len(batch.text), generator=generator) < TEXT_DROP
        states = study.states(batch.text.masked_fill(dropped, 0))
        return objective(lambda x, t: model(x, t, states), batch.latent, generator), {}

    chosen: dict[str, Any] = {
        "optimizer": "muon",
        "lr": 3e-3,
        "weight_decay": 0.01,
        "schedule": "wsd",
        "decay_fraction": 0.3,
        "warmup_steps": min(20, steps - 1),
        "ema_decay": 0.98,
        "checkpoint_every": 100_000,
        "compile": True,
        **settings,
    }
    stage = Stage(
        name="run", model=model, loss=loss, batches=batches, steps=steps, batch_size=batch_size, **chosen
    )
    with tempfile.TemporaryDirectory() as folder:
        run_stages([stage], Path(folder), seed=seed, device="cpu", progress=False)
    model.eval()
