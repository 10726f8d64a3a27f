"""The Movie Gen transformer: its block order, what it may be given, its sizes, and LLaMa and PixArt beside it."""

import dataclasses
import json

import pytest
import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.flow import guided
from kinema.systems.movie_gen.video.model import (
    PRESETS,
    Block,
    MovieGenTransformer,
    TransformerConfig,
    preset,
)
from kinema.text.states import TextStates
from tests.parity import assert_parity, peer

TINY = TransformerConfig(
    dim=32, depth=2, num_heads=2, hidden=48, latent_channels=4, text_dims=(12, 6), grid=(4, 8, 8)
)


STEERING = {"modulation_mlp": True, "final_projection": True}


def stirred(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter random: zeros at initialisation would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.5 * noise / parameter.shape[-1] ** 0.5 + (parameter.ndim == 1))
    return module.eval()


def tiny(**changes: object) -> MovieGenTransformer:
    model = stirred(MovieGenTransformer(dataclasses.replace(TINY, **changes)))
    assert isinstance(model, MovieGenTransformer)
    return model


def texts(batch: int = 2, dims: tuple[int, ...] = (12, 6), seed: int = 0) -> tuple[TextStates, ...]:
    generator = torch.Generator().manual_seed(seed)
    states = []
    for i, dim in enumerate(dims):
        mask = torch.ones(batch, 5 + i, dtype=torch.bool)
        mask[0, 3:] = False
        states.append(TextStates(torch.randn(batch, 5 + i, dim, generator=generator), mask))
    return tuple(states)


def latents(batch: int = 2, grid: tuple[int, int, int] = (2, 4, 6), seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 4, *grid, generator=generator), torch.rand(batch, generator=generator)


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def heads_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention head by head, written out; q (B, N, D), k and v (B, L, D)."""
    outs = []
    for qh, kh, vh in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
        scores = qh @ kh.transpose(1, 2) / qh.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        outs.append(scores.softmax(-1) @ vh)
    return torch.cat(outs, -1)


@pytest.mark.parametrize("cross_norm", [False, True])
def test_block_is_the_papers_order(cross_norm: bool) -> None:
    config = dataclasses.replace(TINY, cross_norm=cross_norm)
    block = stirred(Block(config)).double()
    x, positions = torch.randn(2, 6, 32).double(), torch.randn(6, 32).double()
    modulation, source = torch.randn(2, 6, 32).double(), torch.randn(2, 5, 32).double()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    own, cross = block.self_attention, block.cross_attention
    sh1, sc1, g1, sh2, sc2, g2 = (modulation + block.modulation.table)[:, :, None].unbind(1)
    y = x + positions
    h = rms(y, block.self_norm.weight) * (1 + sc1) + sh1
    y = y + g1 * own.out(heads_attention(own.q(h), own.k(h), own.v(h), 2))
    h = rms(y, block.cross_norm.weight) if cross_norm else y
    y = y + cross.out(heads_attention(cross.q(h), cross.k(source), cross.v(source), 2, mask))
    h = rms(y, block.ffn_norm.weight) * (1 + sc2) + sh2
    y = y + g2 * block.ffn(h)
    torch.testing.assert_close(block(x, positions, modulation, source, mask), y)


def test_positions_enter_at_every_layer() -> None:
    model = tiny()
    calls: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[1]))
    latent, t = latents()
    model(latent, t, texts())
    assert len(calls) == 2
    assert calls[0] is calls[1]
    assert torch.equal(calls[0], model.positions((2, 2, 3)))


def test_velocity_has_the_latents_shape_for_every_grid() -> None:
    model = tiny()
    for grid in ((1, 2, 2), (4, 8, 8), (3, 6, 2)):
        latent, t = latents(grid=grid)
        out = model(latent, t, texts())
        assert out.shape == latent.shape
        assert out.isfinite().all()


def test_batch_of_two_equals_two_batches() -> None:
    model, (latent, t), text = tiny(qk_norm=True), latents(), texts()
    both = model(latent, t, text)
    for i in range(2):
        one = tuple(TextStates(part.embeds[i : i + 1], part.mask[i : i + 1]) for part in text)
        assert_parity(model(latent[i : i + 1], t[i : i + 1], one), both[i : i + 1])


@pytest.mark.parametrize("qk_norm", [False, True])
def test_prepared_condition_gives_the_same_velocity(qk_norm: bool) -> None:
    model, (latent, t), text = tiny(qk_norm=qk_norm), latents(), texts()
    condition = model.prepare(text)
    assert condition.keys_values is not None
    assert len(condition.keys_values) == 2
    assert torch.equal(model(latent, t, condition), model(latent, t, text))
    assert torch.equal(model(latent, t, model.encode_text(text)), model(latent, t, text))


def test_padding_and_its_garbage_do_not_count() -> None:
    model, (latent, t), (first, second) = tiny(), latents(), texts()
    embeds = first.embeds.clone()
    embeds[~first.mask] = torch.nan
    garbage = TextStates(embeds, first.mask)
    assert_parity(model(latent, t, (garbage, second)), model(latent, t, (first, second)))
    longer = TextStates.cat([first, TextStates(torch.zeros(1, 9, 12), torch.ones(1, 9, dtype=torch.bool))])
    padded = TextStates(longer.embeds[:2], longer.mask[:2])
    assert_parity(model(latent, t, (padded, second)), model(latent, t, (first, second)))


def test_empty_text_is_legal_and_adds_nothing() -> None:
    model, (latent, t), text = tiny(), latents(), texts()
    masked = tuple(TextStates(part.embeds, torch.zeros_like(part.mask)) for part in text)
    none = tuple(TextStates(part.embeds[:, :0], part.mask[:, :0]) for part in text)
    out = model(latent, t, masked)
    assert out.isfinite().all()
    assert_parity(model(latent, t, none), out)
    out.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    for block in model.blocks:
        nn.init.zeros_(block.cross_attention.out.weight)
    assert_parity(model(latent, t, text), out)
    # One encoder may have nothing to say, as ByT5 does when nothing is to be written.
    assert model(latent, t, (text[0], none[1])).isfinite().all()


def test_guidance_in_one_call_equals_two() -> None:
    model, (latent, t), text = tiny(), latents(), texts()
    null = texts(seed=7)
    condition = model.prepare([TextStates.cat([c, u]) for c, u in zip(text, null, strict=True)])
    combined = guided(lambda x, s: model(x, s, condition), 4.0)(latent, t)
    cond, uncond = model(latent, t, text), model(latent, t, null)
    assert_parity(combined, uncond + 4.0 * (cond - uncond), 1e-4)


def test_checkpointing_changes_no_gradient() -> None:
    (latent, t), text = latents(), texts()
    gradients = []
    for blocks in ((), (1,), None):
        model = tiny(qk_norm=True)
        model.checkpoint_blocks(blocks)
        model(latent, t, text).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(list(tiny(qk_norm=True).parameters()))
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_grown_model_keeps_its_weights_and_reaches_further() -> None:
    image = tiny(grid=(1, 4, 4))
    video = image.grown((4, 8, 8))
    assert video.config.grid == (4, 8, 8)
    assert video.positions.grid == (4, 4, 4)
    ours, theirs = dict(video.named_parameters()), dict(image.named_parameters())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if "positions" not in name)
    assert torch.equal(ours["positions.time"], theirs["positions.time"].expand(4, 32))
    latent, t = latents(grid=(4, 8, 8))
    assert video(latent, t, texts()).isfinite().all()
    same = image.grown((1, 4, 4))
    latent, t = latents(grid=(1, 4, 4))
    assert torch.equal(same(latent, t, texts()), image(latent, t, texts()))


def test_initialised_model_predicts_zero_and_ignores_the_text() -> None:
    torch.manual_seed(0)
    model, (latent, t) = MovieGenTransformer(TINY), latents()
    assert not model(latent, t, texts()).any()
    nn.init.normal_(model.final.out.weight)
    torch.testing.assert_close(model(latent, t, texts()), model(latent, t, texts(seed=3)))


def test_time_steers_the_last_layer_through_a_projection_of_its_own() -> None:
    model, (latent, t), text = tiny(**STEERING), latents(), texts()
    out = model(latent, t, text)
    assert out.isfinite().all()
    assert model.final.projection is not None
    assert model.modulation.inner is not None
    embedding = model.timestep(t)
    hidden = model.modulation.inner(nn.functional.silu(embedding))
    expected = model.modulation.projection(nn.functional.silu(hidden)).unflatten(1, (6, -1))
    torch.testing.assert_close(model.modulation(embedding), expected)
    x = torch.randn(2, 5, 32)
    shift, scale = (model.final.projection(embedding) + model.final.modulation.table)[:, :, None].unbind(1)
    expected = model.final.out(rms(x, model.final.norm.weight) * (1 + scale) + shift)
    torch.testing.assert_close(model.final(x, embedding), expected)
    nn.init.zeros_(model.final.projection.projection.weight)
    assert not torch.equal(model(latent, t, text), out)


def test_init_weights_sets_every_parameter_and_buffer() -> None:
    with torch.device("meta"):
        model = MovieGenTransformer(dataclasses.replace(TINY, qk_norm=True, cross_norm=True, **STEERING))
    assert all(parameter.is_meta for parameter in model.parameters())
    model.to_empty(device="cpu")
    tensors = [*model.named_parameters(), *model.named_buffers()]
    with torch.no_grad():
        for _, tensor in tensors:
            tensor.fill_(torch.nan)
    model.init_weights()
    assert [name for name, tensor in tensors if not tensor.isfinite().all()] == []


def test_one_step_of_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    model, (latent, t), text = MovieGenTransformer(TINY), latents(batch=4), texts(4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = (model(latent, t, text) - latent).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_bfloat16_runs_and_is_close() -> None:
    model, (latent, t), text = tiny(qk_norm=True), latents(), texts()
    exact = model(latent, t, text)
    half = model.bfloat16()(latent.bfloat16(), t, text)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


def parameters(config: TransformerConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in MovieGenTransformer(config).parameters())


def test_sizes() -> None:
    assert parameters(preset("30b")) == pytest.approx(30e9, rel=0.02)
    bare = preset("30b", modulation_mlp=False, final_projection=False)
    assert parameters(preset("30b")) - parameters(bare) == 3 * 6144**2 + 3 * 6144
    assert parameters(preset("5b")) == pytest.approx(4.93e9, rel=0.005)
    assert parameters(preset("1b")) == pytest.approx(0.934e9, rel=0.005)
    assert parameters(preset("nano")) <= 5.3e6


def test_tokens_of_a_full_clip() -> None:
    time, height, width = preset("30b").tokens((32, 72, 128))  # 256 frames of 576 x 1024
    assert time * height * width == 73_728
    assert preset("30b").patch_dim == 64


@pytest.mark.parametrize("name", PRESETS)
def test_config_goes_through_json(name: str) -> None:
    config = preset(name)
    assert TransformerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_weights_keep_the_names_under_which_they_are_stored() -> None:
    model = tiny(qk_norm=True, cross_norm=True, depth=1, text_dims=(12,), **STEERING)
    attentions = {
        f"blocks.0.{kind}_attention.{name}.weight"
        for kind in ("self", "cross")
        for name in ("q", "k", "v", "out", "q_norm", "k_norm")
    }
    others = """
        patch_in.weight patch_in.bias positions.time positions.height positions.width
        timestep.inner.weight timestep.inner.bias timestep.outer.weight timestep.outer.bias
        modulation.inner.weight modulation.inner.bias modulation.projection.weight modulation.projection.bias
        text.0.linear.weight text.0.norm.weight text.0.norm.bias
        blocks.0.modulation.table blocks.0.self_norm.weight blocks.0.cross_norm.weight blocks.0.ffn_norm.weight
        blocks.0.ffn.gate.weight blocks.0.ffn.up.weight blocks.0.ffn.down.weight
        final.projection.projection.weight final.projection.projection.bias
        final.modulation.table final.norm.weight final.out.weight final.out.bias
    """
    assert set(model.state_dict()) == attentions | set(others.split())


def test_settings_that_cannot_be_are_explained() -> None:
    values = TINY.to_dict()
    with pytest.raises(UserError, match=r"no setting 'num_head'.*num_heads"):
        TransformerConfig.from_dict({**values, "num_head": 3})
    with pytest.raises(UserError, match="needs dim"):
        TransformerConfig.from_dict({k: v for k, v in values.items() if k != "dim"})
    with pytest.raises(UserError, match=r"no preset '30B'.*30b"):
        preset("30B")
    with pytest.raises(UserError, match="not a multiple of num_heads=5"):
        preset("nano", num_heads=5)
    with pytest.raises(UserError, match="cannot be cut into patches"):
        preset("1b", grid=(4, 7, 8))


def test_a_model_without_text_has_no_cross_attention() -> None:
    model, (latent, t) = tiny(text_dims=()), latents()
    assert not any("cross" in name for name, _ in model.named_parameters())
    whole = model(latent, t)
    assert whole.shape == latent.shape
    torch.testing.assert_close(model(latent[1:], t[1:]), whole[1:])
    with pytest.raises(UserError, match="this model takes"):
        model(latent, t, texts())


def test_a_condition_stands_behind_the_latents_channels() -> None:
    model, (latent, t), text = tiny(condition_channels=3), latents(), texts()
    condition = torch.randn(2, 3, 2, 4, 6, generator=torch.Generator().manual_seed(1))
    velocity = model(torch.cat([latent, condition], 1), t, text)
    assert velocity.shape == latent.shape
    assert not torch.allclose(velocity, model(torch.cat([latent, 0 * condition], 1), t, text))
    with pytest.raises(UserError, match=r"takes a latent \(B, 7, T, H, W\)"):
        model(latent, t, text)


def test_inputs_that_cannot_be_are_explained() -> None:
    model, (latent, t), text = tiny(), latents(), texts()
    with pytest.raises(UserError, match="takes a latent"):
        model(latent[:, :3], t, text)
    with pytest.raises(UserError, match="reaches to"):
        model(torch.zeros(2, 4, 5, 8, 8), t, text)
    with pytest.raises(UserError, match="cannot be cut"):
        model(torch.zeros(2, 4, 2, 3, 4), t, text)
    with pytest.raises(UserError, match="1 texts"):
        model(latent, t, texts(1))
    with pytest.raises(UserError, match="as many times"):
        model(latent, t[:1], text)
    with pytest.raises(UserError, match=r"widths \(12,\)"):
        model(latent, t, text[0])
    with pytest.raises(ValueError, match="bool mask"):
        TextStates(torch.zeros(1, 2, 3), torch.ones(1, 2))


def test_llama_half_equals_transformers() -> None:
    """With modulation and cross-attention silenced, the block is LLaMa's layer without rotary angles."""
    peer("transformers")
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    settings = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_attention_heads=2, num_key_value_heads=2, rms_norm_eps=1e-5
    )
    settings._attn_implementation = "sdpa"
    layer, block = stirred(LlamaDecoderLayer(settings, 0), seed=1), Block(TINY)
    theirs = layer.state_dict()
    state = {
        "self_norm.weight": theirs["input_layernorm.weight"],
        "ffn_norm.weight": theirs["post_attention_layernorm.weight"],
        **{f"self_attention.{a}.weight": theirs[f"self_attn.{a}_proj.weight"] for a in "qkv"},
        "self_attention.out.weight": theirs["self_attn.o_proj.weight"],
        **{f"ffn.{a}.weight": theirs[f"mlp.{a}_proj.weight"] for a in ("gate", "up", "down")},
        "modulation.table": torch.tensor([0.0, 0, 1, 0, 0, 1])[:, None].expand(6, 32),  # gates of one
        "cross_attention.out.weight": torch.zeros(32, 32),
    }
    missing, unexpected = block.load_state_dict(state, strict=False)
    assert unexpected == []
    assert all(name.startswith("cross_attention.") for name in missing)
    x = torch.randn(2, 7, 32)
    identity = (torch.ones(1, 7, 16), torch.zeros(1, 7, 16))
    full = torch.zeros(1, 1, 7, 7)  # an additive mask that hides nothing: bidirectional
    out = layer(x, attention_mask=full, position_embeddings=identity)
    silence = torch.zeros(2, 6, 32), torch.zeros(2, 1, 32), torch.ones(2, 1, dtype=torch.bool)
    assert_parity(block(x, torch.zeros(7, 32), *silence), out[0] if isinstance(out, tuple) else out)


def test_modulation_equals_pixart() -> None:
    """Shared adaLN with a table per layer: PixArt's block, its norm and feed-forward exchanged for ours."""
    peer("diffusers")
    from diffusers.models.attention import BasicTransformerBlock

    theirs = stirred(
        BasicTransformerBlock(
            dim=32,
            num_attention_heads=2,
            attention_head_dim=16,
            cross_attention_dim=32,
            attention_bias=False,
            attention_out_bias=False,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
        ),
        seed=2,
    )
    block = stirred(Block(TINY), seed=3)
    theirs.norm1, theirs.norm2, theirs.ff = block.self_norm, block.ffn_norm, block.ffn
    state = {"modulation.table": theirs.scale_shift_table}
    for ours, name in (("self_attention", "attn1"), ("cross_attention", "attn2")):
        part = getattr(theirs, name)
        for a, layer in (("q", part.to_q), ("k", part.to_k), ("v", part.to_v), ("out", part.to_out[0])):
            state[f"{ours}.{a}.weight"] = layer.weight
    assert block.load_state_dict(state, strict=False).unexpected_keys == []
    x, modulation, source = torch.randn(2, 6, 32), torch.randn(2, 6, 32), torch.randn(2, 5, 32)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    expected = theirs(
        x, encoder_hidden_states=source, encoder_attention_mask=mask[:, None], timestep=modulation.flatten(1)
    )
    assert_parity(block(x, torch.zeros(6, 32), modulation, source, mask), expected)
