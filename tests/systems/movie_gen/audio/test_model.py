"""The audio transformer: sizes, what each condition does, and the block against SAM-Audio's, recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kinema.errors import UserError
from kinema.nn.positions import rotary
from kinema.systems.movie_gen.audio.model import (
    PRESETS,
    AudioTransformerConfig,
    Block,
    MovieGenAudioTransformer,
    preset,
)
from kinema.systems.movie_gen.audio.weights import block_from_sam_audio, head_order
from kinema.text.states import TextStates
from tests.parity import assert_parity
from tests.systems.movie_gen.audio.conftest import CHANNELS, CONFIG


def size(name):
    with torch.device("meta"):
        built = MovieGenAudioTransformer(preset(name))
    return built, sum(p.numel() for p in built.parameters())


def test_the_13b_has_the_paper_s_arithmetic():
    built, count = size("13b")
    core = sum(p.numel() for p in built.blocks.parameters())
    d, f = 4608, 18432
    assert core / (36 * (8 * d * d + 2 * d * f)) == pytest.approx(
        1, abs=1e-3
    )  # two matrices of 4d, or SwiGLU's three
    assert core == pytest.approx(12.2e9, rel=0.005)
    assert count == pytest.approx(12.4e9, rel=0.005)


@pytest.mark.parametrize(("name", "named"), [("300m", 0.3e9), ("3b", 3e9)])
def test_the_smaller_sizes_are_as_large_as_they_are_called(name, named):
    assert size(name)[1] == pytest.approx(named, rel=0.1)


def test_nano_leaves_room_for_codec_and_encoders_in_eight_megabytes():
    assert size("nano")[1] < 2.2e6


def test_every_parameter_is_set_after_the_meta_device():
    with torch.device("meta"):
        built = MovieGenAudioTransformer(CONFIG)
    built.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.fill_(float("nan"))
    built.init_weights()
    assert all(bool(p.isfinite().all()) for p in built.parameters())


def test_weights_keep_the_names_under_which_they_are_stored():
    attentions = {
        f"blocks.0.{kind}_attention.{name}.weight"
        for kind in ("self", "cross")
        for name in ("q", "k", "v", "out", "q_norm", "k_norm")
    }
    others = """
        input.weight input.bias text.weight text.bias
        frames.gate frames.projection.weight frames.projection.bias frames.norm.weight frames.norm.bias
        timestep.inner.weight timestep.inner.bias timestep.outer.weight timestep.outer.bias
        modulation.projection.weight modulation.projection.bias
        blocks.0.modulation.table blocks.0.self_norm.weight blocks.0.ffn_norm.weight
        blocks.0.ffn.gate.weight blocks.0.ffn.up.weight blocks.0.ffn.down.weight
        final.modulation.table final.norm.weight final.out.weight final.out.bias
    """
    model = MovieGenAudioTransformer(replace(CONFIG, depth=1))
    assert set(model.state_dict()) == attentions | set(others.split())


def test_settings_make_the_round_trip_and_unknown_ones_are_named():
    assert AudioTransformerConfig.from_dict(CONFIG.to_dict()) == CONFIG
    with pytest.raises(UserError, match="max_frames"):
        AudioTransformerConfig.from_dict({**CONFIG.to_dict(), "max_frame": 3})
    with pytest.raises(UserError, match="13b"):
        preset("13B")
    assert set(PRESETS) == {"nano", "300m", "3b", "13b"}


def test_a_new_model_gives_zero_and_hears_no_video(conditions):
    torch.manual_seed(0)
    fresh = MovieGenAudioTransformer(CONFIG)
    told = conditions(2, 9)
    assert not fresh(torch.randn(2, CHANNELS, 9), torch.rand(2), told).any()
    assert not fresh.frames(told.visual, told.seen).any()
    with torch.no_grad():
        fresh.frames.gate.fill_(0.3)
    assert fresh.frames(told.visual, told.seen).abs().min(2).values.gt(0).any()


def test_each_condition_counts_and_nothing_takes_them_all_away(model, conditions):
    x, t, told = torch.randn(2, CHANNELS, 9), torch.tensor([0.2, 0.7]), conditions(2, 9)
    whole = model(x, t, told)
    gone, kept = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    without = [
        model(x, t, told.without(audio=gone, video=kept, text=kept)),
        model(x, t, told.without(audio=kept, video=gone, text=kept)),
        model(x, t, told.without(audio=kept, video=kept, text=gone)),
    ]
    for changed in without:
        assert (changed - whole).abs().mean() > 1e-3
    other = conditions(2, 9, seed=5)
    torch.testing.assert_close(model(x, t, told.nothing()), model(x, t, other.nothing()))


def test_only_the_samples_that_lose_a_condition_change(model, conditions):
    x, t, told = torch.randn(2, CHANNELS, 9), torch.tensor([0.2, 0.7]), conditions(2, 9)
    second = torch.tensor([False, True])
    changed = model(x, t, told.without(audio=second, video=second, text=second))
    torch.testing.assert_close(changed[0], model(x, t, told)[0])
    torch.testing.assert_close(changed[1], model(x, t, told.nothing())[1])


def test_what_is_prepared_once_gives_the_same(model, conditions):
    x, t, told = torch.randn(2, CHANNELS, 9), torch.rand(2), conditions(2, 9)
    torch.testing.assert_close(model(x, t, model.prepare(told)), model(x, t, told))


def test_padding_of_the_text_changes_nothing(model, conditions):
    x, t, told = torch.randn(2, CHANNELS, 9), torch.rand(2), conditions(2, 9)
    padded = replace(told, text=told.text.padded(11))
    torch.testing.assert_close(model(x, t, padded), model(x, t, told))
    empty = TextStates(torch.zeros(2, 0, 16), torch.zeros(2, 0, dtype=torch.bool))
    gone = told.without(*(torch.tensor([False] * 2),) * 2, torch.tensor([True] * 2))
    torch.testing.assert_close(model(x, t, replace(told, text=empty)), model(x, t, gone))


def test_gradients_reach_every_parameter_with_checkpointed_blocks_too(model, conditions):
    x, t, told = torch.randn(2, CHANNELS, 9), torch.rand(2), conditions(2, 9)
    model(x, t, told).square().mean().backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters()}
    assert all(bool(g.any()) for g in plain.values())
    model.zero_grad()
    model.checkpoint_blocks()
    model(x, t, told).square().mean().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name])


def test_shapes_that_do_not_fit_are_refused(model, conditions):
    told = conditions(2, 9)
    with pytest.raises(UserError, match="takes a latent"):
        model(torch.randn(2, 3, 9), torch.rand(2), told)
    with pytest.raises(UserError, match="context"):
        model(torch.randn(2, CHANNELS, 8), torch.rand(2), told)
    with pytest.raises(UserError, match="16"):
        model(torch.randn(2, CHANNELS, 9), torch.rand(2), conditions(2, 9, dim=5))


RECORDED = Path(__file__).with_name("sam_block.safetensors")


def test_two_blocks_are_sam_audio_s():
    told = load_file(RECORDED)
    dim, heads = told["x"].shape[2], 4
    config = AudioTransformerConfig(dim=dim, depth=2, num_heads=heads, hidden=48, qk_norm=True)
    hidden, steer = told["x"], told["steer"].unflatten(1, (6, dim))
    table = rotary(hidden.shape[1], config.head_dim, config.theta)
    for layer in range(2):
        prefix = f"block.{layer}."
        state = {k.removeprefix(prefix): v for k, v in told.items() if k.startswith(prefix)}
        block = Block(config)
        block.load_state_dict(block_from_sam_audio(state, heads))
        with torch.no_grad():
            hidden = block(hidden, steer, table, told["text"], told["mask"])
        assert_parity(hidden, told[f"y.{layer}"], 1e-5)


def test_interleaved_heads_are_put_in_order():
    """Channel c of an interleaved projection belongs to head c mod heads."""
    x = torch.arange(24).float().view(1, 1, 24)
    theirs = x.view(1, 1, 6, 4).permute(0, 3, 1, 2)  # (B, heads, N, head_dim)
    ours = x[:, :, head_order(24, 4)].unflatten(2, (4, 6)).transpose(1, 2)
    assert torch.equal(ours, theirs)
    with pytest.raises(UserError, match="no part"):
        block_from_sam_audio({"attention.wz.weight": torch.zeros(2, 2)}, 1)
