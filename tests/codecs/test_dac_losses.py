"""Losses and discriminators of the sound codec."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from kinema.codecs.dac_discriminators import (
    BandDiscriminator,
    DiscriminatorConfig,
    PeriodDiscriminator,
    SoundDiscriminators,
)
from kinema.codecs.dac_losses import (
    MEL_SCALES,
    feature_matching,
    least_squares_discriminator,
    least_squares_generator,
    mel_scale,
    multi_scale_mel,
    play,
)
from kinema.nn.mel import mel_filters
from tests.codecs.formula import formula_weights, uniform
from tests.parity import assert_parity

RECORDED = Path(__file__).with_name("dac.safetensors")  # by make_dac.py
TINY = DiscriminatorConfig(
    periods=(2,), period_widths=(4, 6), windows=(64,), band_width=3, bands=((0, 0.5), (0.5, 1))
)


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("period", PeriodDiscriminator(3, DiscriminatorConfig().period_widths)),
        ("band", BandDiscriminator(512, 32, DiscriminatorConfig().bands)),
    ],
)
@torch.no_grad()
def test_discriminators_equal_descript_audio_codec(kind: str, module: torch.nn.Module) -> None:
    recorded = load_file(RECORDED)
    shapes = {}
    for name, value in module.state_dict().items():  # theirs has a rectifier beside each convolution
        layer, end = name.rsplit(".", 1)
        shapes[name if layer == "conv_post" else f"{layer}.0.{end}"] = tuple(value.shape)
    filled = formula_weights(shapes)
    module.load_state_dict(dict(zip(module.state_dict(), filled.values())))
    maps = module(uniform("judged", (2, 1, 4001)).float())
    assert_parity(maps[-1], recorded[f"descript.{kind}.scores"])
    assert_parity(torch.stack([layer.mean() for layer in maps]), recorded[f"descript.{kind}.means"])


def test_discriminators_look_at_the_same_loudness_as_descripts() -> None:
    judges = SoundDiscriminators(TINY)
    seen = []
    judges.discriminators[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    judges(uniform("loud", (2, 1, 50)).float() + 0.3)
    assert_parity(seen[0], load_file(RECORDED)["descript.preprocessed"], 1e-6)


def test_published_discriminators_are_as_large_as_they_should_be() -> None:
    """By hand: of a period 5 (1 w1 + w1 w2 + ...) weights; of a window 5 bands of 2 x 32 x 27 and so on."""
    config = DiscriminatorConfig()
    with torch.device("meta"):
        count = sum(p.numel() for n, p in SoundDiscriminators(config).named_parameters() if "weight_v" in n)
    w = (1, *config.period_widths)
    period = 5 * sum(a * b for a, b in pairwise(w)) + 3 * w[-1]
    band = 5 * (2 * 32 * 27 + 3 * 32 * 32 * 27 + 32 * 32 * 9) + 32 * 9
    assert count == 5 * period + 3 * band


def test_mel_loss_by_hand_at_one_scale() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 1, 4000), torch.randn(2, 1, 4000)
    settings = mel_scale(48000, 20, 128)
    seen = []
    for sound in (a, b):
        magnitude = torch.stft(sound[:, 0], 128, 32, window=torch.hann_window(128), return_complex=True).abs()
        seen.append((mel_filters(settings) @ magnitude).clamp_min(1e-5).log10())
    assert_parity(multi_scale_mel(a, b, 48000, [(20, 128)]), (seen[0] - seen[1]).abs().mean(), 1e-6)


def test_mel_loss_sums_scales_and_has_gradients() -> None:
    sound = torch.randn(1, 1, 3000)
    assert multi_scale_mel(sound, sound, 48000) == 0
    louder = (10 * sound).requires_grad_()
    loss = multi_scale_mel(louder, sound, 48000)
    # A factor of ten is one in log10 at every place; bands too narrow to hold a frequency see nothing.
    seen = sum(
        (mel_filters(mel_scale(48000, *scale)).sum(1) > 0).float().mean().item() for scale in MEL_SCALES
    )
    assert loss.item() == pytest.approx(seen, rel=0.01)
    loss.backward()
    assert louder.grad is not None
    assert louder.grad.isfinite().all()


def test_scores_by_hand() -> None:
    real, fake = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    assert least_squares_discriminator(real, fake).item() == pytest.approx(0.5 + 2.0)
    assert least_squares_generator(fake).item() == pytest.approx(1.0)
    maps = [[torch.tensor([1.0]), torch.tensor([5.0])]]
    other = [[torch.tensor([3.0]), torch.tensor([9.0])]]
    assert feature_matching(maps, other).item() == 2.0  # the scores are left out


@pytest.mark.parametrize("game", ["least_squares", "hinge"])
def test_one_backward_pass_gives_both_players_their_own_gradients(game: str) -> None:
    torch.manual_seed(0)
    judges, maker = SoundDiscriminators(TINY), torch.nn.Conv1d(1, 1, 5, padding=2, bias=False)
    real = torch.randn(2, 1, 300)
    made = maker(real)
    losses = play(judges, real, made, game)
    (losses.discriminator + losses.generator + 2 * losses.features).backward()
    joint = [p.grad.clone() for p in [*judges.parameters(), *maker.parameters()]]
    for parameter in [*judges.parameters(), *maker.parameters()]:
        parameter.grad = None

    made = maker(real)  # as it is usually written: two passes, the other player's gradients thrown away
    seen_real, seen_fake = judges(real), judges(made.detach())
    own = sum(
        F.relu(1 - a[-1]).mean() / 2 + F.relu(1 + b[-1]).mean() / 2
        if game == "hinge"
        else (1 - a[-1]).square().mean() + b[-1].square().mean()
        for a, b in zip(seen_real, seen_fake)
    )
    apart = list(torch.autograd.grad(own, list(judges.parameters())))
    seen_real, seen_fake = judges(real), judges(made)
    deceive = sum(-b[-1].mean() if game == "hinge" else (1 - b[-1]).square().mean() for b in seen_fake)
    alike = sum(
        F.l1_loss(b, a.detach()) for x, y in zip(seen_real, seen_fake) for a, b in zip(x[:-1], y[:-1])
    )
    apart += torch.autograd.grad(deceive + 2 * alike, list(maker.parameters()))
    for ours, theirs in zip(joint, apart, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(math.isfinite(float(gradient.norm())) for gradient in joint)
    # Weights of every layer are moved; of biases the last may rest, where both halves of the hinge pull alike.
    assert all(gradient.any() for gradient in joint if gradient.dim() > 1)


def test_no_discriminator_is_refused() -> None:
    with pytest.raises(ValueError, match="no discriminator"):
        DiscriminatorConfig(periods=(), windows=())
