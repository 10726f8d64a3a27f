"""The experiments on joint masking run from their commands, and compare what they say they compare."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinema.eval import probes

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "omnimae"


@pytest.mark.parametrize("name", ["joint_masking", "masking_ratio"])
def test_quick_run_writes_figures_and_a_plot(name, quick, monkeypatch):
    monkeypatch.setenv("KINEMA_DATA", "")  # real sets are left out where they are not installed
    monkeypatch.setattr(probes, "STEPS", 2)  # of the solver: whether it runs is asked, not what it finds
    quick(name)


def test_equal_compute_is_equal(experiment):
    joint = experiment("joint_masking")
    costs = {kind: joint.cost(kind) for kind in ("image", "clip")}
    assert costs["clip"] > 2 * costs["image"]
    for arm, kind in (("images alone", "image"), ("clips alone", "clip")):
        steps = joint.plan(arm, 0, 40)
        on_clips = sum(joint.is_clip_step(step, 0.5, 0) for step in range(40))
        spent = on_clips * costs["clip"] + (40 - on_clips) * costs["image"]
        assert steps * costs[kind] == pytest.approx(spent, rel=0.05)


def test_without_masking_the_loss_is_of_every_patch(experiment):
    study = experiment("omnimae_study")
    torch.manual_seed(0)
    model = study.autoencoder(study.CONFIG).eval()
    loss = study.whole_loss(model, torch.randn(2, 3, 32, 32))
    assert 0.5 < loss.item() < 2
    loss.backward()
    assert model.encoder.stem.proj.weight.grad.abs().sum() > 0
