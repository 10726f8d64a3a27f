"""Positions: growth, the relative property of rotary angles, and the tables of other libraries."""

import numpy as np
import pytest
import torch

from kinema.nn import (
    FactorizedPositions,
    apply_rotary,
    grow_table,
    rotary,
    sincos_1d,
    sincos_2d,
    sincos_3d,
    timestep_sinusoid,
    turn_pairs,
)
from tests.parity import assert_parity, peer


def test_positions_add_up_over_the_axes() -> None:
    positions = FactorizedPositions(8, (3, 4, 5))
    sums = positions((2, 3, 4)).view(2, 3, 4, 8)
    expected = positions.time[1] + positions.height[2] + positions.width[3]
    torch.testing.assert_close(sums[1, 2, 3], expected)
    with pytest.raises(ValueError, match="grow the tables"):
        positions((4, 4, 5))


def test_growth_is_linear_and_keeps_both_ends() -> None:
    line = torch.linspace(-1, 2, 5)[:, None] * torch.tensor([1.0, -3.0])
    torch.testing.assert_close(
        grow_table(line, 9), torch.linspace(-1, 2, 9)[:, None] * torch.tensor([1.0, -3.0])
    )
    assert torch.equal(grow_table(line, 5), line)
    one_frame = torch.randn(1, 4)  # an image model's time table grows into a constant one
    torch.testing.assert_close(grow_table(one_frame, 3), one_frame.expand(3, 4))


def test_grown_positions_are_new_tables() -> None:
    positions = FactorizedPositions(8, (1, 4, 5))
    grown = positions.grown((3, 8, 10))
    assert grown.grid == (3, 8, 10)
    torch.testing.assert_close(grown.height[[0, -1]], positions.height[[0, -1]])
    assert positions.grid == (1, 4, 5)


@pytest.mark.parametrize("layout", ["pairs", "halves"])
def test_rotary_products_depend_on_the_distance_alone(layout: str) -> None:
    q, k = torch.randn(1, 1, 1, 16, dtype=torch.float64), torch.randn(1, 1, 1, 16, dtype=torch.float64)
    table = rotary(12, 16)
    turned_q, turned_k = (apply_rotary(x.expand(1, 1, 12, 16), table, layout) for x in (q, k))
    products = torch.einsum("bhqd,bhkd->qk", turned_q, turned_k)
    for distance in range(-11, 12):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(products.diagonal(0)[:1], products.diagonal(3)[:1])


def test_rotary_offset_is_a_window_of_the_longer_table() -> None:
    whole, part = rotary(10, 8), rotary(4, 8, offset=(3,))
    assert torch.equal(whole[0][3:7], part[0])
    assert torch.equal(whole[1][3:7], part[1])


def test_rotary_keeps_lengths_in_three_dimensions() -> None:
    x = torch.randn(2, 2, 24, 20, dtype=torch.float64)
    turned = apply_rotary(x, rotary((2, 3, 4), 20))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="even head width"):
        rotary((2, 2, 2), 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_turned_pairs_equal_apply_rotary_and_so_do_their_gradients(dtype: torch.dtype) -> None:
    table, weight = rotary((2, 3, 4), 20), torch.randn(2, 2, 24, 20, dtype=dtype)
    tokens = torch.randn(2, 24, 40, dtype=dtype)
    results = []
    for turn in (apply_rotary, turn_pairs):
        leaf = tokens.clone().requires_grad_()
        turned = turn(leaf.unflatten(2, (2, 20)).transpose(1, 2), table)  # heads as a view, as in attention
        (turned * weight).sum().backward()
        results.append((turned, leaf.grad))
    for ours, other in zip(*results, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, other)


def test_rotary_of_a_line_equals_llama() -> None:
    peer("transformers")
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=32)
    q, k = torch.randn(2, 4, 9, 16), torch.randn(2, 4, 9, 16)
    cos, sin = LlamaRotaryEmbedding(config)(q, torch.arange(9)[None])
    theirs = apply_rotary_pos_emb(q, k, cos, sin)
    for ours, other in zip((q, k), theirs, strict=True):
        assert_parity(apply_rotary(ours, rotary(9, 16), "halves"), other)


def test_rotary_of_a_clip_equals_wan() -> None:
    peer("diffusers")
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    cos, sin = WanRotaryPosEmbed(128, (1, 2, 2), 64)(torch.zeros(1, 16, 3, 8, 10))
    ours = rotary((3, 4, 5), 128)
    assert_parity(ours[0], cos[0, :, 0, ::2])
    assert_parity(ours[1], sin[0, :, 0, ::2])


def test_sines_and_cosines_equal_diffusers() -> None:
    peer("diffusers")
    from diffusers.models import embeddings

    line = embeddings.get_1d_sincos_pos_embed_from_grid(32, torch.arange(7), output_type="pt")
    assert_parity(sincos_1d(torch.arange(7), 32), torch.as_tensor(line))
    plane = embeddings.get_2d_sincos_pos_embed(32, (5, 5), base_size=5, output_type="pt")
    assert_parity(sincos_2d((5, 5), 32), torch.as_tensor(np.asarray(plane)))
    clip = embeddings.get_3d_sincos_pos_embed(
        64, (5, 3), 4, output_type="pt"
    )  # their size is (width, height)
    assert_parity(sincos_3d((4, 3, 5), 64), torch.as_tensor(np.asarray(clip)).flatten(0, 1))


def test_timestep_sinusoid_equals_diffusers() -> None:
    peer("diffusers")
    from diffusers.models.embeddings import Timesteps

    t = torch.rand(6)
    theirs = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)(1000 * t)
    assert_parity(timestep_sinusoid(t, 256), theirs)
