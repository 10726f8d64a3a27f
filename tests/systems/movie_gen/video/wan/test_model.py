"""Wan's transformer against diffusers' at the same weights, and what kinema promises of it."""

from collections.abc import Callable

import pytest
import torch

from kinema.errors import UserError
from kinema.flow import flow_matching_loss
from kinema.nn.attention import attention, split_heads
from kinema.systems.movie_gen.video.wan import layers
from kinema.systems.movie_gen.video.wan.condition import collapse_padding
from kinema.systems.movie_gen.video.wan.config import PRESETS, WanConfig, preset
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from kinema.text.states import TextStates
from tests.parity import assert_parity


def test_velocity_is_the_negative_of_diffusers_output_at_timestep_1000_sigma(pair, make_batch) -> None:
    ours, theirs = pair
    batch = make_batch(3)
    with torch.no_grad():
        reference = theirs(batch.latent, 1000 * (1 - batch.t), batch.padded_text(), return_dict=False)[0]
        assert_parity(ours(batch.latent, batch.t, batch.text), -reference, 1e-4)
        assert reference.std() > 0.1


def test_time_and_sign_are_kinemas(pair, make_batch) -> None:
    """At t=0 the model is asked at Wan's largest noise level, at t=1 at none, and the velocity points to the data."""
    ours, theirs = pair
    batch = make_batch(2)
    t = torch.tensor([0.0, 1.0])
    with torch.no_grad():
        timesteps = torch.tensor([1000.0, 0.0])
        reference = theirs(batch.latent, timesteps, batch.padded_text(), return_dict=False)[0]
        velocity = ours(batch.latent, t, batch.text)
    assert_parity(velocity, -reference, 1e-4)
    # the same clean estimate from both conventions: x - sigma v = x + (1 - t) u
    sigma = (1 - t).view(2, 1, 1, 1, 1)
    assert_parity(batch.latent + sigma * velocity, batch.latent - sigma * reference, 1e-4)


def test_gradients_equal_diffusers_and_are_finite(pair, make_batch) -> None:
    ours, theirs = pair
    batch = make_batch(2)
    ours(batch.latent, batch.t, batch.text).square().mean().backward()
    reference = theirs(batch.latent, 1000 * (1 - batch.t), batch.padded_text(), return_dict=False)[0]
    reference.square().mean().backward()
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert_parity(ours.patch_embedding.weight.grad, theirs.patch_embedding.weight.grad, 1e-4)
    assert_parity(ours.blocks[0].modulation.grad, theirs.blocks[0].scale_shift_table.grad, 1e-4)
    assert_parity(
        ours.blocks[1].cross_attn.norm_k.weight.grad, theirs.blocks[1].attn2.norm_k.weight.grad, 1e-4
    )


def test_collapsed_padding_is_the_same_sum() -> None:
    """Attention over 512 keys, of which most are one and the same, and over the few that are left, in float64."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(21) < torch.tensor([20, 3, 0])[:, None]
    embeds = torch.randn(3, 21, 8, generator=generator, dtype=torch.float64) * mask[..., None]
    matrix = torch.randn(2, 8, 16, generator=generator, dtype=torch.float64)
    queries = torch.randn(3, 2, 5, 8, generator=generator, dtype=torch.float64)

    def seen(source: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        keys, values = (split_heads((source + 0.3) @ part, 2) for part in matrix)
        return attention(queries, keys, values, bias)

    states = TextStates(embeds, mask)
    kept, bias = collapse_padding(states, 512)
    assert kept.embeds.shape[1] == 21
    whole = seen(states.padded(512).embeds, None)
    each = (512 - mask.sum(1)).double() / (~mask).sum(1)
    exact = torch.where(mask, 0.0, each.log()[:, None])
    torch.testing.assert_close(bias.double(), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(seen(kept.embeds, exact), whole, rtol=1e-12, atol=1e-12)
    full = TextStates(torch.randn(1, 512, 8), torch.ones(1, 512, dtype=torch.bool))
    assert not collapse_padding(full, 512)[1].any()


def test_one_time_for_all_is_each_its_own(wan: WanTransformer, make_batch) -> None:
    batch = make_batch(3)
    t = torch.full((3,), 0.3)
    with torch.inference_mode():
        condition = wan.prepare(batch.text, batch.latent.shape[2:])
        each = wan(batch.latent, t, condition)
        assert_parity(wan(batch.latent, t[:1], condition), each, 1e-5)
    assert_parity(wan(batch.latent, t, batch.text).detach(), each, 1e-5)  # the path with gradients


def test_long_batches_go_through_the_inner_layer_in_pieces(wan: WanTransformer, monkeypatch) -> None:
    x, ffn = torch.randn(2, 700, 40), wan.blocks[0].ffn
    with torch.inference_mode():
        whole = ffn(x)
        monkeypatch.setattr(layers, "HIDDEN_BYTES", 1)
        assert_parity(ffn(x), whole, 1e-5)


@pytest.mark.parametrize("size", [None, (3, 4, 6), (1, 4, 4)])
def test_prepared_equals_unprepared(wan: WanTransformer, make_batch, size) -> None:
    """Also where the tables were made for another size; padding tokens that stand for many weigh as many."""
    batch = make_batch(4)
    with torch.no_grad():
        condition = wan.prepare(batch.text, size)
        assert_parity(wan(batch.latent, batch.t, condition), wan(batch.latent, batch.t, batch.text), 1e-5)
    assert condition.source.shape[1] == 10  # the longest text and one token of padding, of 16


def test_texts_without_padding_or_without_tokens_are_legal(wan: WanTransformer, make_batch) -> None:
    batch = make_batch(2)
    full = TextStates(torch.randn(2, 16, 24), torch.ones(2, 16, dtype=torch.bool))
    empty = TextStates(torch.zeros(2, 0, 24), torch.zeros(2, 0, dtype=torch.bool))
    with torch.no_grad():
        for text in (full, empty):
            plain = wan(batch.latent, batch.t, text)
            assert plain.isfinite().all()
            assert_parity(wan(batch.latent, batch.t, wan.prepare(text)), plain, 1e-5)


def test_what_the_mask_hides_does_not_count_and_samples_do_not_mix(wan: WanTransformer, make_batch) -> None:
    batch = make_batch(2)
    noisy = TextStates(batch.text.embeds + 7.0 * ~batch.text.mask[..., None], batch.text.mask)
    with torch.no_grad():
        both = wan(batch.latent, batch.t, batch.text)
        assert_parity(wan(batch.latent, batch.t, noisy), both, 1e-6)
        second = TextStates(batch.text.embeds[1:], batch.text.mask[1:])
        assert_parity(wan(batch.latent[1:], batch.t[1:], second), both[1:], 1e-5)
        other = TextStates(batch.text.embeds.flip(0), batch.text.mask.flip(0))
        assert (wan(batch.latent, batch.t, other) - both).abs().max() > 1e-3


def test_half_precision_is_near_and_norms_stay_fine(wan: WanTransformer, make_batch) -> None:
    batch = make_batch(2)
    with torch.inference_mode():
        whole = wan(batch.latent, batch.t, batch.text)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            condition = wan.prepare(batch.text)
            half = wan(batch.latent, batch.t, condition)
        assert condition.bias is not None
        assert condition.bias.dtype == torch.float32  # the logarithm of a count is not rounded to 8 bits
        assert condition.source.shape[1] == 6
        assert half.dtype == torch.float32
        assert (half - whole).norm() < 0.05 * whole.norm()
        held = wan.to(torch.bfloat16)
        assert (held(batch.latent, batch.t, held.prepare(batch.text)) - whole).norm() < 0.05 * whole.norm()


def test_post_training_has_a_loss_and_checkpointing_changes_nothing(wan: WanTransformer, make_batch) -> None:
    batch = make_batch(2)
    gradients = []
    for blocks in ((), None):
        wan.zero_grad()
        wan.checkpoint_blocks(blocks)
        loss, _ = flow_matching_loss(
            lambda x, t: wan(x, t, batch.text), batch.latent, torch.Generator().manual_seed(0)
        )
        loss.backward()
        gradients.append([p.grad.clone() for p in wan.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert_parity(plain, recomputed, 1e-6)


def test_weights_are_set_after_the_meta_device() -> None:
    with torch.device("meta"):
        model = WanTransformer(PRESETS["tiny"])
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    model.init_weights()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert not list(model.buffers())
    latent, text = (
        torch.randn(1, 4, 1, 4, 4),
        TextStates(torch.randn(1, 2, 24), torch.ones(1, 2, dtype=torch.bool)),
    )
    assert not model(latent, torch.rand(1), text).any()  # an untrained Wan predicts zero


def test_settings_are_checked_and_survive_json() -> None:
    config = preset("1.3b")
    assert WanConfig.from_dict(config.to_dict()) == config
    with pytest.raises(UserError, match=r"closest are.*1\.3b"):
        preset("1.3B-T2V")
    with pytest.raises(UserError, match="no setting 'width'"):
        WanConfig.from_dict({"width": 3})
    with pytest.raises(UserError, match="needs depth"):
        WanConfig.from_dict({"dim": 48})
    with pytest.raises(UserError, match="num_heads=5"):
        WanConfig(dim=48, depth=1, num_heads=5, hidden=8)


def _bad_latent(batch) -> tuple:
    return batch.latent[:, :3], batch.t, batch.text


def _odd_size(batch) -> tuple:
    return batch.latent[..., :5], batch.t, batch.text


def _more_times(batch) -> tuple:
    return batch.latent, batch.t.repeat(2), batch.text


def _wide_text(batch) -> tuple:
    return batch.latent, batch.t, TextStates(batch.text.embeds.repeat(1, 1, 2), batch.text.mask)


def _long_text(batch) -> tuple:
    return batch.latent, batch.t, batch.text.padded(17)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_bad_latent, r"latent \(B, 4, T, H, W\), got \(2, 3, 3, 4, 6\)"),
        (_odd_size, r"latent of \(3, 4, 5\) cannot be cut"),
        (_more_times, "as many times and texts"),
        (_wide_text, "width 48 and this model takes"),
        (_long_text, "17 tokens"),
    ],
)
def test_what_does_not_fit_is_named(wan: WanTransformer, make_batch, change: Callable, words: str) -> None:
    with pytest.raises(UserError, match=words):
        wan(*change(make_batch(2)))
