"""Layers against their definitions."""

import sys

import pytest
import torch
import torch.nn.functional as F

from kinema.nn import (
    FactorizedPositions,
    GeluMLP,
    LayerBias,
    MultiHeadAttention,
    RMSNorm,
    SharedModulation,
    SwiGLU,
    TimestepEmbedding,
    attention,
    init_layers,
    merge_heads,
    modulate,
    patchify,
    rms_normalize,
    rotary,
    split_heads,
    timestep_sinusoid,
    turn_pairs,
    unpatchify,
)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_attention_is_softmax_of_products() -> None:
    q, k, v = draw(2, 3, 5, 4), draw(2, 3, 7, 4, seed=1), draw(2, 3, 7, 4, seed=2)
    weights = (q @ k.transpose(-1, -2) / 2).softmax(-1)
    torch.testing.assert_close(attention(q, k, v), weights @ v)


def test_masked_keys_do_not_count() -> None:
    q, k, v = draw(2, 3, 5, 4), draw(2, 3, 7, 4, seed=1), draw(2, 3, 7, 4, seed=2)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[:, 4:] = False
    expected = attention(q, k[:, :, :4], v[:, :, :4])
    torch.testing.assert_close(attention(q, k, v, mask), expected)
    torch.testing.assert_close(attention(q, k, v, mask[:, None, None].expand(2, 3, 5, 7)), expected)


def test_written_out_attention_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (torch.randn(2, 3, n, 8, dtype=torch.bfloat16, requires_grad=True) for n in (5, 9, 9))
    mask = torch.rand(2, 9, generator=torch.Generator().manual_seed(0)) < 0.6
    mask[:, 0] = True
    for seen in (None, mask, mask[:, None, None].expand(2, 3, 5, 9)):
        results = []
        for limit in (512, 0):
            monkeypatch.setattr(sys.modules[attention.__module__], "EXPLICIT_KEYS", limit)
            out = attention(q, k, v, seen)
            results.append((out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))))
        for explicit, kernel in zip(*results, strict=True):
            assert explicit.dtype == torch.bfloat16
            torch.testing.assert_close(explicit.float(), kernel.float(), atol=0.06, rtol=0.05)


def test_half_precision_attention_keeps_its_dtype() -> None:
    q, k, v = (draw(1, 2, 4, 8, seed=i, dtype=torch.bfloat16) for i in range(3))
    out = attention(q, k, v)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), attention(q.float(), k.float(), v.float()), atol=0.02, rtol=0.02)


def test_heads_split_and_merge() -> None:
    x = draw(2, 5, 12)
    assert split_heads(x, 3).shape == (2, 3, 5, 4)
    assert torch.equal(split_heads(x, 3)[:, 1], x[:, :, 4:8])
    assert torch.equal(merge_heads(split_heads(x, 3)), x)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_multi_head_attention_is_its_heads_one_by_one(qk_norm: bool) -> None:
    layer = MultiHeadAttention(12, 3, qk_norm, norm_eps=0.1).double()
    names = {"q.weight", "k.weight", "v.weight", "out.weight"}  # those of stored weights
    assert set(layer.state_dict()) == names | ({"q_norm.weight", "k_norm.weight"} if qk_norm else set())
    with torch.no_grad():
        for i, parameter in enumerate(layer.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=i))
    x, source = draw(2, 5, 12), draw(2, 7, 12, seed=1)
    mask = torch.tensor([[True] * 4 + [False] * 3, [True] * 7])

    def expected(source: torch.Tensor, mask: torch.Tensor | None, turned: bool) -> torch.Tensor:
        heads = []
        for part in torch.arange(12).split(4):
            q, k = x @ layer.q.weight[part].T, source @ layer.k.weight[part].T
            v = source @ layer.v.weight[part].T
            if qk_norm:
                q = rms_normalize(q, 0.1) * layer.q_norm.weight
                k = rms_normalize(k, 0.1) * layer.k_norm.weight
            if turned:
                q, k = (turn_pairs(some[:, None], rotary(5, 4, 100.0))[:, 0] for some in (q, k))
            scores = q @ k.transpose(1, 2) / 2
            if mask is not None:
                scores = scores.masked_fill(~mask[:, None], -torch.inf)
            heads.append(scores.softmax(-1) @ v)
        return torch.cat(heads, -1) @ layer.out.weight.T

    torch.testing.assert_close(
        layer(x, *layer.keys_values(source), mask), expected(source, mask, turned=False)
    )
    own = layer(x, *layer.keys_values(x), positions=rotary(5, 4, 100.0))
    torch.testing.assert_close(own, expected(x, None, turned=True))


def test_every_kind_of_layer_is_set_where_it_starts() -> None:
    network = torch.nn.Sequential(
        torch.nn.Linear(400, 300), torch.nn.Linear(100, 300, bias=False), torch.nn.LayerNorm(6), RMSNorm(5),
        LayerBias(100), SharedModulation(4), TimestepEmbedding(8), FactorizedPositions(6, (2, 3, 4)),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(torch.nan)
    torch.manual_seed(0)
    init_layers(network)
    state = network.state_dict()
    assert all(bool(value.isfinite().all()) for value in state.values())
    assert float(state["0.weight"].std()) == pytest.approx(1 / 20, rel=0.02)
    assert float(state["1.weight"].std()) == pytest.approx(1 / 10, rel=0.02)
    assert float(state["6.inner.weight"].std()) == pytest.approx(0.02, rel=0.1)  # its own start
    assert bool((state["0.bias"] == 0).all() and (state["5.projection.weight"] == 0).all())
    assert bool((state["2.weight"] == 1).all() and (state["3.weight"] == 1).all())


@pytest.mark.parametrize("requires_grad", [True, False])  # training on a CPU takes a path of its own
def test_rms_normalize_is_its_formula(requires_grad: bool) -> None:
    x = draw(2, 5, 12).requires_grad_(requires_grad)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(rms_normalize(x, 1e-5), expected)


def test_gradient_of_rms_normalize() -> None:
    x = draw(3, 2, 4).transpose(0, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: rms_normalize(y, 0.1), x)


def test_statistics_of_rms_are_taken_in_float32() -> None:
    x = torch.full((1, 4096), 300.0, dtype=torch.float16)  # 300^2 does not fit into float16
    torch.testing.assert_close(rms_normalize(x), torch.ones_like(x))


def test_modulated_norm_is_norm_then_modulate() -> None:
    norm = RMSNorm(8).double()
    with torch.no_grad():
        norm.weight.copy_(draw(8, seed=3))
    x, shift, scale = draw(2, 5, 8), draw(2, 1, 8, seed=1), draw(2, 1, 8, seed=2)
    torch.testing.assert_close(norm.modulated(x, shift, scale), norm(x) * (1 + scale) + shift)
    torch.testing.assert_close(modulate(x, shift, scale), x * (1 + scale) + shift)


def test_feed_forward_networks() -> None:
    x = draw(2, 5, 8)
    swiglu = SwiGLU(8, 6).double()
    torch.testing.assert_close(swiglu(x), swiglu.down(F.silu(swiglu.gate(x)) * swiglu.up(x)))
    assert all(layer.bias is None for layer in (swiglu.gate, swiglu.up, swiglu.down))
    mlp = GeluMLP(8, 6, out_dim=3, approximate="tanh").double()
    torch.testing.assert_close(mlp(x), mlp.down(F.gelu(mlp.up(x), approximate="tanh")))


def test_timestep_sinusoid_counts_in_thousandths() -> None:
    t = torch.tensor([0.0, 0.25, 1.0])
    sinusoid = timestep_sinusoid(t, 256)
    assert torch.equal(sinusoid[0], torch.cat([torch.ones(128), torch.zeros(128)]))
    torch.testing.assert_close(sinusoid[:, 0].double(), torch.cos(1000 * t.double()), atol=1e-5, rtol=0)
    assert TimestepEmbedding(16)(t).shape == (3, 16)


def test_shared_modulation_starts_at_zero_and_each_layer_adds_its_own() -> None:
    shared, layer = SharedModulation(8, chunks=6), LayerBias(8, chunks=6)
    shared.init_weights()
    chunks = layer(shared(draw(2, 8, dtype=torch.float32)))
    assert len(chunks) == 6
    assert all(
        torch.equal(chunk, row.expand(2, 1, 8)) for chunk, row in zip(chunks, layer.table, strict=True)
    )


def test_layer_bias_starts_as_unit_normal_over_root_of_width() -> None:
    torch.manual_seed(0)
    assert LayerBias(4096).table.std().item() == pytest.approx(4096**-0.5, rel=0.05)


@pytest.mark.parametrize(
    ("shape", "patch"), [((2, 3, 12), (4,)), ((2, 3, 6, 8), (2, 4)), ((2, 3, 2, 4, 6), (1, 2, 3))]
)
def test_patches_go_there_and_back(shape: tuple[int, ...], patch: tuple[int, ...]) -> None:
    x = draw(*shape)
    grid = [size // step for size, step in zip(shape[2:], patch, strict=True)]
    assert torch.equal(unpatchify(patchify(x, patch), grid, patch, shape[1]), x)


def test_a_linear_layer_on_patches_is_a_convolution() -> None:
    x, weight = draw(2, 3, 2, 4, 6), draw(5, 3, 1, 2, 3, seed=1)
    tokens = patchify(x, (1, 2, 3)) @ weight.flatten(1).T
    expected = F.conv3d(x, weight, stride=(1, 2, 3)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens, expected)


def test_patches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        patchify(draw(1, 3, 5, 4), (2, 2))
    with pytest.raises(ValueError, match="4 axes"):
        patchify(draw(1, 3, 4), (2, 2))
    with pytest.raises(ValueError, match="has tokens of"):
        unpatchify(draw(1, 4, 12), (2, 3), (2, 2), 3)
