"""Inverted residual blocks by identities: folding changes nothing, options change what they say, counts are exact."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kinema.nn import counting
from kinema.nn.mobile import Add, ConvNorm, InvertedResidual, SqueezeExcite, folded, hidden_width, init_mobile


def stirred(network: nn.Module) -> nn.Module:
    """Weights and statistics away from where they start: zeros and ones hide errors."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]:
            tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator))
    return network


BLOCKS = {
    "plain": {"expansion": 4},
    "residual": {"out_channels": 8, "expansion": 2},
    "no expansion": {"kernel": 5},
    "always pw": {"always_pw": True, "depthwise": "bare"},
    "stride": {"expansion": 3, "stride": 2, "kernel": 5},
    "upsample": {"expansion": 2, "upsample": 2, "depthwise": "bare"},
    "squeeze-excite": {"expansion": 2, "squeeze_excite": 0.25, "activation": nn.Hardswish},
    "hidden": {"hidden": 20},
}


def block(out_channels: int = 12, **options: object) -> InvertedResidual:
    return InvertedResidual(8, out_channels, **options)


@pytest.mark.parametrize("options", BLOCKS.values(), ids=BLOCKS)
def test_folding_the_norms_changes_nothing(options):
    torch.manual_seed(0)
    network = stirred(block(**options)).eval()
    x = torch.randn(2, 8, 6, 10)
    plain = folded(network)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in plain.modules())
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())  # a copy was folded
    torch.testing.assert_close(plain(x), network(x), atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("options", BLOCKS.values(), ids=BLOCKS)
def test_every_option_gives_its_shape_and_gradients(options):
    network = block(**options)
    out = network(torch.randn(2, 8, 6, 10))
    size = {"stride": (3, 5), "upsample": (12, 20)}
    want = next((size[key] for key in size if key in options), (6, 10))
    assert out.shape == (2, options.get("out_channels", 12), *want)
    out.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_parts_that_options_take_away_are_gone():
    assert block().pw is None
    assert block(always_pw=True).pw is not None
    assert block(expansion=2).pw is not None
    assert block(out_channels=8).add is not None
    for options in ({"residual": "never"}, {"stride": 2}, {"upsample": 2}):
        assert block(out_channels=8, **options).add is None
    assert block().add is None  # other channels
    bare, full = block(depthwise="bare"), block()
    assert (bare.dw.norm, bare.dw.activation, bare.dw.conv.bias) == (None, None, None)
    assert isinstance(full.dw.norm, nn.BatchNorm2d)
    assert isinstance(full.dw.activation, nn.ReLU)
    assert (full.pwl.activation, full.se) == (None, None)


def test_upsampling_comes_after_the_expansion_and_before_the_depthwise():
    network = block(expansion=2, upsample=2)
    seen = {}
    for name in ("pw", "dw"):
        getattr(network, name).register_forward_hook(
            lambda layer, given, out, name=name: seen.update({name: (given[0].shape[2:], out.shape[2:])})
        )
    network(torch.randn(1, 8, 4, 4))
    assert seen == {"pw": ((4, 4), (4, 4)), "dw": ((8, 8), (8, 8))}


def test_a_residual_block_begins_as_the_identity():
    network = block(out_channels=8, expansion=3)
    init_mobile(network)
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(network(x), x)


def test_squeeze_excite_is_a_gate_by_the_mean():
    network = SqueezeExcite(4, 2)
    x = torch.randn(2, 4, 3, 3)
    mean = x.mean((2, 3))
    reduce, expand = network.reduce.weight[:, :, 0, 0], network.expand.weight[:, :, 0, 0]
    want = (((mean @ reduce.T + network.reduce.bias).relu() @ expand.T + network.expand.bias + 3) / 6).clamp(
        0, 1
    )
    torch.testing.assert_close(network(x), x * want[:, :, None, None])


def test_quantiser_slots_see_every_result():
    class Count(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x.round()

    network, counters = block(out_channels=8, expansion=2), []
    for layer in network.modules():
        if isinstance(layer, ConvNorm | Add):
            layer.quantiser = Count()
            counters.append(layer.quantiser)
    out = network(3 * torch.randn(1, 8, 4, 4))
    assert [counter.calls for counter in counters] == [1, 1, 1, 1]
    assert torch.equal(out, out.round())


def test_what_a_block_cannot_be_is_refused():
    with pytest.raises(ValueError, match="one of the two"):
        block(stride=2, upsample=2)
    with pytest.raises(ValueError, match="must be odd"):
        block(kernel=4)


@pytest.mark.parametrize(
    ("channels", "expansion", "divisor", "want"),
    [(48, 1, 1, 48), (16, 0.25, 8, 8), (8, 0.1, 8, 8), (24, 2.3, 8, 56), (3, 0.5, 1, 2)],
)
def test_hidden_widths(channels, expansion, divisor, want):
    assert hidden_width(channels, expansion, divisor) == want


def test_multiply_adds_are_counted_exactly_and_on_the_meta_device():
    def build() -> tuple[nn.Module, torch.Tensor]:
        layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 8*4*5 outputs of 27
            nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2),  # 8*4*5 inputs to 2*4
            nn.Conv2d(4, 4, 5, padding=2, groups=4),  # 4*8*10 outputs of 25
            nn.BatchNorm2d(4),
            nn.Flatten(),
            nn.Linear(4 * 8 * 10, 7),
        )
        return layers, torch.empty(2, 3, 8, 10)

    want = 2 * (160 * 27 + 160 * 8 + 320 * 25 + 7 * 320)
    network, x = build()
    network.train()
    assert counting.count_multiply_adds(network, x) == want
    assert network.training
    assert not any(layer._forward_hooks for layer in network.modules())
    with torch.device("meta"):
        network, x = build()
    assert counting.count_multiply_adds(network, x) == want
    assert counting.count_parameters(network) == 8 * 28 + (8 * 2 * 4 + 4) + 4 * 26 + 8 + 7 * 321


def test_a_layer_that_runs_twice_counts_twice_and_frozen_ones_are_told_apart():
    layer = nn.Linear(3, 3)
    network = nn.Sequential(layer, layer)
    with counting.counting(network) as table:
        network(torch.zeros(2, 3))
    assert table == {"0": 36}
    layer.bias.requires_grad_(False)
    assert counting.count_parameters(network) == 12
    assert counting.count_parameters(network, trainable=True) == 9


def test_only_convolutions_and_linear_layers_are_counted():
    with pytest.raises(TypeError, match="BatchNorm2d"):
        counting.multiply_adds(nn.BatchNorm2d(3), torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
