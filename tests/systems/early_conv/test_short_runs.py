"""A short run of the study: it learns, repeats, decays what it should, and says when it diverged."""

from __future__ import annotations

import pytest
import torch

from kinema.data.labelled import LabelledPictures
from kinema.systems.early_conv.model import EarlyConvConfig, build
from kinema.systems.early_conv.short_runs import DIVERGED, Schedule, build_optimizer, error_after
from tests.shaken import draw

TINY = EarlyConvConfig(
    dim=16, depth=1, num_heads=2, widths=(8, 16), strides=(2, 2), patch=4, image_size=8, num_classes=3
)


def pictures(count: int, seed: int) -> LabelledPictures:
    """Three classes told by their colour."""
    labels = torch.arange(count) % 3
    images = 110 + 30 * draw(count, 3, 8, 8, seed=seed)
    images[torch.arange(count), labels] += 60
    return LabelledPictures(images.clamp(0, 255).to(torch.uint8), labels, ("red", "green", "blue"))


def run(**settings: float) -> float:
    schedule = Schedule(steps=25, batch_size=16)
    chosen = {"optimizer": "adamw", "lr": 3e-3, "weight_decay": 0.1, "seed": 0, **settings}
    return error_after(lambda: build(TINY), pictures(60, 1), pictures(60, 2), schedule, **chosen)


def test_it_learns_and_repeats() -> None:
    error = run()
    assert error < 20
    assert error == run()
    assert run(optimizer="sgd", lr=0.1, weight_decay=1e-4) < 40


def test_a_run_that_diverged_counts_as_all_wrong() -> None:
    assert run(optimizer="sgd", lr=1e12, weight_decay=1e-6) == DIVERGED


def test_norms_and_biases_do_not_decay() -> None:
    network = build(TINY)
    for kind in ("adamw", "sgd"):
        groups = build_optimizer(network, kind, 1e-3, 0.3).param_groups
        decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
        for name, parameter in network.named_parameters():
            assert decay[id(parameter)] == (0.3 if parameter.ndim >= 2 else 0), name


def test_the_rate_rises_and_falls() -> None:
    schedule = Schedule(steps=100)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[10] == pytest.approx(0.9755, abs=1e-3)
    assert factors[-1] < 1e-3
