"""Masked prediction: the rates of masks and drops, the loss on masked frames only, the same draws from a seed."""

from __future__ import annotations

import math

import pytest
import torch

from kinema.flow.paths import interpolate, velocity_target
from kinema.systems.movie_gen.audio import objective
from kinema.systems.movie_gen.audio.objective import draw_drops, draw_masks, masked_prediction_loss
from tests.systems.movie_gen.audio.conftest import CHANNELS

MANY = 40_000


def close(share, wanted):
    """Within four standard deviations of a share of MANY draws."""
    assert share == pytest.approx(wanted, abs=4 * math.sqrt(wanted * (1 - wanted) / MANY))


def test_half_are_all_masked_and_the_others_in_one_span_of_75_to_100_percent():
    frames = 50
    masks = draw_masks(MANY, frames, torch.Generator().manual_seed(0))
    lengths = masks.sum(1)
    edges = (masks[:, 1:] != masks[:, :-1]).sum(1)
    assert int(edges.max()) <= 2  # one span
    assert int(lengths.min()) >= round(0.75 * frames)
    assert int(lengths.min()) < 0.78 * frames
    rounded_up = 0.5 / (0.25 * frames)  # spans so long that they round to all frames
    close((lengths == frames).float().mean(), 0.5 + 0.5 * rounded_up)
    partial = masks[lengths < frames]
    assert (~partial[:, 0]).float().mean() > 0.3  # spans do not all begin at the beginning
    assert (~partial[:, -1]).float().mean() > 0.3
    begin = partial.float().argmax(1).float() / (frames - partial.sum(1))
    assert float(begin.mean()) == pytest.approx(0.5, abs=0.02)


def test_conditions_go_together_in_a_fifth_and_else_one_by_one():
    drops = draw_drops(MANY, torch.Generator().manual_seed(0))
    close(drops.audio.float().mean(), 0.2)
    assert bool((drops.video & drops.text)[drops.audio].all())
    close(drops.video.float().mean(), 0.2 + 0.8 * 0.1)
    close(drops.text.float().mean(), 0.2 + 0.8 * 0.1)
    kept = ~drops.audio
    close((drops.video & drops.text & kept).float().mean(), 0.8 * 0.01)  # independent of each other
    assert not bool(drops.audio[~drops.video].any())


def test_the_same_seed_draws_the_same_and_another_one_does_not(model, conditions):
    told = conditions(4, 12)
    latent = torch.randn(4, CHANNELS, 12, generator=torch.Generator().manual_seed(3))

    def loss(seed):
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(torch.seed() % 1000)  # the global source has no part in it
        return masked_prediction_loss(model, latent, told.visual, told.seen, told.text, generator)[0]

    assert torch.equal(loss(1), loss(1))
    assert not torch.equal(loss(1), loss(2))


def test_the_loss_is_the_velocity_s_error_on_masked_frames_alone(conditions, monkeypatch):
    told, latent = conditions(64, 20), torch.randn(64, CHANNELS, 20)
    seen = {}

    def network(x, t, conditions):
        seen.update(x=x, t=t, told=conditions)
        return x.sin()

    loss, logs = masked_prediction_loss(
        network, latent, told.visual, told.seen, told.text, torch.Generator().manual_seed(5)
    )
    generator = torch.Generator().manual_seed(5)
    mask, drops = draw_masks(64, 20, generator), draw_drops(64, generator)
    t = objective.logit_normal(64, generator)
    noise = torch.randn(latent.shape, generator=generator)
    torch.testing.assert_close(seen["x"], interpolate(noise, latent, t))
    torch.testing.assert_close(seen["t"], t)
    error = (seen["x"].sin() - velocity_target(noise, latent)).square().mean(1)
    torch.testing.assert_close(loss, error[mask].mean())
    assert not torch.isclose(loss, error.mean())
    known = ~mask & ~drops.audio[:, None]
    expected = torch.where(known[:, None], latent, torch.zeros(()))
    assert torch.equal(seen["told"].context, expected)
    assert torch.equal(seen["told"].seen, (~drops.video)[:, None].expand(64, 20))
    assert torch.equal(seen["told"].text.mask, (~drops.text)[:, None].expand(64, 6))
    assert float(logs["masked"]) == pytest.approx(mask.float().mean().item())
    assert objective.SIGMA_MIN == 1e-5


def test_training_learns_to_fill_in_from_the_context(conditions):
    """A few steps on a sound that is the same everywhere: with its ends in sight the middle is told."""
    from kinema.systems.movie_gen.audio.model import MovieGenAudioTransformer
    from tests.systems.movie_gen.audio.conftest import CONFIG

    torch.manual_seed(0)
    network, told = MovieGenAudioTransformer(CONFIG), conditions(32, 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(40):
        latent = torch.randn(32, CHANNELS, 1, generator=generator).expand(32, CHANNELS, 16)
        loss, _ = masked_prediction_loss(network, latent, told.visual, told.seen, told.text, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
