"""The upsampler's network: starts where a text-to-image model stands, sees the condition, windows, sizes."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from kinema.errors import UserError
from kinema.flow.paths import interpolate, velocity_target
from kinema.systems.movie_gen.upsampler.model import (
    PRESETS,
    Upsampler,
    UpsamplerConfig,
    from_text_to_image,
    preset,
)
from kinema.systems.movie_gen.video.model import MovieGenTransformer
from kinema.text.states import TextStates
from tests.systems.movie_gen.upsampler.conftest import TINY


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("text_dims", [(), (10,)], ids=["no text", "text"])
def test_from_text_to_image_computes_the_same_whatever_the_condition(text_dims):
    torch.manual_seed(1)
    config = dataclasses.replace(
        TINY, transformer=dataclasses.replace(TINY.transformer, text_dims=text_dims, patch=(1, 2, 2))
    )
    picture_model = MovieGenTransformer(dataclasses.replace(config.transformer, condition_channels=0))
    with torch.no_grad():
        for parameter in picture_model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    upsampler = from_text_to_image(picture_model, config)
    x, t = draw(2, 12, 1, 6, 6), torch.tensor([0.2, 0.8])
    text = TextStates(draw(2, 3, 10), torch.ones(2, 3, dtype=torch.bool)) if text_dims else ()
    before = picture_model(x, t, text)
    assert before.abs().mean() > 0.01
    for seed in (1, 2):
        torch.testing.assert_close(upsampler(x, t, draw(2, 12, 1, 6, 6, seed=seed), text), before)
    # The condition's weights can learn: their gradient is not zero.
    upsampler(x, t, draw(2, 12, 1, 6, 6, seed=3), text).square().mean().backward()
    weight = upsampler.transformer.patch_in.weight
    assert weight.grad[:, weight.shape[1] // 2 :].abs().max() > 0
    assert weight[:, weight.shape[1] // 2 :].abs().max() == 0


def test_from_text_to_image_grows_the_reach_and_refuses_another_design():
    small = dataclasses.replace(TINY.transformer, condition_channels=0, grid=(1, 3, 3))
    assert from_text_to_image(MovieGenTransformer(small), TINY).config.window == (4, 6, 6)
    with pytest.raises(UserError, match="more than the condition"):
        from_text_to_image(MovieGenTransformer(dataclasses.replace(small, dim=64)), TINY)


def test_the_sample_is_the_latent_or_its_distance_from_the_condition(parts):
    latent, condition = draw(2, 12, 2, 3, 3), draw(2, 12, 2, 3, 3, seed=1)
    model = parts.upsampler
    torch.testing.assert_close(
        model.latent_of(model.sample_of(latent, condition), condition), latent, rtol=1e-4, atol=1e-5
    )
    assert model.sample_of(condition, condition).abs().max() == 0
    plain = Upsampler(dataclasses.replace(TINY, residual=False))
    assert plain.sample_of(latent, condition) is latent


def test_the_unit_makes_visible_channels_of_unit_variance_and_others_smaller():
    model = Upsampler(TINY)
    scale = torch.linspace(0.1, 2.0, 12).view(1, -1, 1, 1, 1)
    condition = draw(4, 12, 4, 6, 6, seed=1)
    latent = condition + scale * draw(4, 12, 4, 6, 6)
    reach = 1 / scale.flatten()  # all move pixels alike
    reach[3] = 0.04 * reach[3]
    reach[4] = 1e-9
    model.measure(latent, condition, reach)
    spread = model.sample_of(latent, condition).std((0, 2, 3, 4))
    torch.testing.assert_close(spread[5:], torch.ones(7), rtol=0.1, atol=0)
    assert spread[3] == pytest.approx(0.2, rel=0.1)
    assert spread[4] == pytest.approx(0.2, rel=0.1)  # the least share


def test_preconditioned_it_starts_at_the_best_linear_estimate():
    """Before training its loss on independent noise is what no linear estimate can beat: s^2 / v."""
    config = dataclasses.replace(TINY, preconditioned=True)
    model = Upsampler(config)
    model.spread.copy_(torch.linspace(0.2, 1.0, 12))
    spread = model.spread.view(1, -1, 1, 1, 1)
    data, noise, condition = (
        spread * draw(64, 12, 4, 6, 6),
        draw(64, 12, 4, 6, 6, seed=1),
        draw(64, 12, 4, 6, 6),
    )
    for time in (0.1, 0.5, 0.9):
        t = torch.full((64,), time)
        with torch.no_grad():
            made = model(interpolate(noise, data, t), t, condition)
        error = (made - velocity_target(noise, data)).square().mean((0, 2, 3, 4))
        least = model.spread.square() / ((time * model.spread).square() + (1 - time) ** 2)
        torch.testing.assert_close(error, least, rtol=0.05, atol=0)


def test_one_window_is_the_plain_network_and_larger_latents_are_averaged_windows(parts):
    model = parts.upsampler.eval()
    x, c, t = draw(1, 12, 4, 6, 6), draw(1, 12, 4, 6, 6, seed=1), torch.tensor([0.5])
    with torch.no_grad():
        assert torch.equal(model.whole(x, t, c), model(x, t, c))
        x, c = draw(1, 12, 7, 10, 6), draw(1, 12, 7, 10, 6, seed=1)
        made = model.whole(x, t, c)
        assert made.shape == x.shape
        corner = model(x[:, :, :4, :6], t, c[:, :, :4, :6])
        torch.testing.assert_close(made[:, :, :2, :4], corner[:, :, :2, :4])  # covered by one window alone
        assert not torch.allclose(made[:, :, 2:4, :4], corner[:, :, 2:4, :4])


def test_presets_have_their_sizes():
    counts = {}
    for name in PRESETS:
        with torch.device("meta"):
            model = Upsampler(preset(name))
        counts[name] = sum(parameter.numel() for parameter in model.parameters())
    assert counts["7b"] == pytest.approx(7e9, rel=0.02)
    assert counts["nano"] == 1_125_056
    assert preset("7b").window[0] == 14
    assert preset("7b").overlap[0] == 4


def test_settings_survive_json_and_wrong_ones_are_explained():
    for config in (TINY, *PRESETS.values()):
        assert UpsamplerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(UserError, match="7b"):
        preset("7B")
    with pytest.raises(UserError, match="cannot overlap"):
        dataclasses.replace(TINY, overlap=(4, 2, 2))
    with pytest.raises(UserError, match="condition_channels is 0 and must be 12"):
        dataclasses.replace(TINY, transformer=dataclasses.replace(TINY.transformer, condition_channels=0))
    with pytest.raises(UserError, match="settings are transformer, overlap, residual"):
        UpsamplerConfig.from_dict({"transformer": {}})


def test_built_on_meta_every_value_is_set_afterwards():
    with torch.device("meta"):
        model = Upsampler(TINY)
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().fill_(float("nan"))
    model.init_weights()
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())
