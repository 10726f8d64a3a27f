"""Guidance, the solver against torchdiffeq, windows and segments."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinema.errors import UserError
from kinema.flow.schedules import linear
from kinema.flow.solvers import midpoint
from kinema.systems.movie_gen.audio.sampling import (
    Segment,
    Settings,
    autoregressive,
    sample,
    segments,
    velocity_field,
)
from tests.parity import assert_parity, peer
from tests.systems.movie_gen.audio.conftest import CHANNELS

FEW = Settings(steps=3, guidance_scale=3.0)


def noise(batch, frames):
    return torch.randn(batch, CHANNELS, frames, generator=torch.Generator().manual_seed(9))


def plainly(model, told, x, settings):
    """Guidance written out, without windows."""

    def velocity(x, t):
        cond, null = model(x, t, told), model(x, t, told.nothing())
        return null + settings.guidance_scale * (cond - null)

    return midpoint(velocity, x, linear(settings.steps))


@torch.no_grad()
def test_midpoint_is_torchdiffeq_s():
    odeint = peer("torchdiffeq").odeint
    start = noise(2, 5).double()

    def velocity(x, t):
        return torch.cos(3 * t).view(-1, 1, 1) * x.sin() + t.view(-1, 1, 1)

    theirs = odeint(
        lambda t, x: velocity(x, t.expand(len(x))),
        start,
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        method="midpoint",
        options={"step_size": 1 / 16},
    )[-1]
    assert_parity(midpoint(velocity, start, linear(16)), theirs, 1e-6)


@torch.no_grad()
def test_guidance_drops_all_conditions_together(model, conditions):
    told, x = conditions(2, 9), noise(2, 9)
    torch.testing.assert_close(
        sample(model, told, x, FEW), plainly(model, told, x, FEW), atol=1e-5, rtol=1e-4
    )
    plain = replace(FEW, guidance_scale=1.0)
    wanted = midpoint(lambda x, t: model(x, t, told), x, linear(3))
    torch.testing.assert_close(sample(model, told, x, plain), wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_one_window_is_plain_sampling_exactly(model, conditions, scale):
    told, x = conditions(2, 20), noise(2, 20)
    settings = replace(FEW, guidance_scale=scale)
    assert torch.equal(
        sample(model, told, x, replace(settings, window=20)),
        sample(model, told, x, replace(settings, window=999)),
    )


@torch.no_grad()
def test_windows_see_their_own_frames_and_are_merged_at_each_evaluation(model, conditions):
    told, x, t = conditions(1, 30), noise(1, 30), torch.tensor([0.4])
    settings = Settings(guidance_scale=1.0, window=20)
    merged = velocity_field(model, told, settings)(x, t)
    first = model(x[:, :, :20], t, told.part(0, 20))
    last = model(x[:, :, 10:], t, told.part(10, 20))
    torch.testing.assert_close(merged[:, :, :10], first[:, :, :10], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(merged[:, :, 20:], last[:, :, 10:], atol=1e-5, rtol=1e-4)
    rise = torch.arange(1, 11) / 11.0  # triangles, normalised
    between = first[:, :, 10:] * (1 - rise) + last[:, :, :10] * rise
    torch.testing.assert_close(merged[:, :, 10:20], between, atol=1e-5, rtol=1e-4)


def test_long_form_looks_at_one_window_at_a_time(model, conditions):
    longest = []
    model.register_forward_hook(lambda module, args, out: longest.append(args[0].shape))
    with torch.no_grad():
        sample(model, conditions(1, 70), noise(1, 70), replace(FEW, steps=1, window=20))
    assert {shape[2] for shape in longest} == {20}
    assert {shape[0] for shape in longest} == {2}  # both halves of guidance in one call
    assert len(longest) == 2 * 6  # two evaluations of six windows


def test_segments_cover_what_is_to_be_made_with_the_end_of_the_last_as_context():
    # The paper's 58 s: new parts of 20 s, each beside the 5 s before it.
    found = segments(58, 25, 5)
    assert found == [Segment(0, 0, 20, 20), Segment(15, 20, 40, 40), Segment(35, 40, 58, 58)]
    assert segments(50, 25, 5, known=10) == [Segment(5, 10, 30, 30), Segment(25, 30, 50, 50)]
    assert segments(50, 25, 5, known=10, backward=True) == [Segment(20, 20, 40, 45), Segment(0, 0, 20, 25)]
    with pytest.raises(UserError, match="does not fit"):
        segments(50, 25, 25)


@torch.no_grad()
@pytest.mark.parametrize("backward", [False, True])
def test_a_segment_sees_what_was_made_and_leaves_what_is_known(model, conditions, backward):
    told, x = conditions(1, 40), noise(1, 40)
    known = torch.zeros(40, dtype=torch.bool)
    known[-6:] = backward
    known[:6] = not backward
    told = replace(told, context=told.context * known)
    calls = []
    handle = model.register_forward_hook(lambda module, args, out: calls.append(args[2].context[0].clone()))
    made = autoregressive(model, told, x, replace(FEW, steps=1), known=6, backward=backward)
    handle.remove()
    assert torch.equal(made[:, :, known], told.context[:, :, known])
    assert bool(made.isfinite().all())
    assert made[:, :, ~known].abs().min() > 0
    first, second = calls[0], calls[2]  # two evaluations each; window 20, context 4, new 16
    seen = slice(-4, None) if backward else slice(0, 4)
    assert torch.equal(first[:, seen], told.context[0, :, -6:-2] if backward else told.context[0, :, 2:6])
    assert torch.equal(second[:, seen], made[0, :, 18:22])
    hidden = slice(0, 16) if backward else slice(4, None)
    assert not first[:, hidden].any()


@torch.no_grad()
def test_segments_take_a_text_each(model, conditions):
    told, x = conditions(1, 32), noise(1, 32)
    told = replace(told, context=torch.zeros_like(told.context))
    other = conditions(1, 32, seed=8).text
    done = []
    made = autoregressive(
        model, told, x, FEW, texts=[told.text, other], on_segment=lambda *turn: done.append(turn)
    )
    same = autoregressive(model, told, x, FEW)
    assert torch.equal(made[:, :, :16], same[:, :, :16])
    assert not torch.allclose(made[:, :, 16:], same[:, :, 16:])
    assert done == [(1, 2), (2, 2)]
    with pytest.raises(UserError, match="2 segments"):
        autoregressive(model, told, x, FEW, texts=[other])
