"""RegNetY against torchvision's and timm's with the same weights; widths and sizes as published."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from kinema.nn.counting import count_parameters
from kinema.nn.regnet import RegNetY, regnet_stages
from tests.parity import assert_parity, peer

# depth, initial, slope, step, group width -> widths, depths, parameters with a head of 1000 classes
PUBLISHED = {
    "16gf": ((18, 200, 106.23, 2.48, 112), (224, 448, 1232, 3024), (2, 4, 11, 1), 83_590_140),
    "32gf": ((20, 232, 115.89, 2.53, 232), (232, 696, 1392, 3712), (2, 5, 12, 1), 145_046_770),
    "128gf": ((27, 456, 160.83, 2.52, 264), (528, 1056, 2904, 7392), (2, 7, 17, 1), 644_812_894),
}
SMALL = (6, 16, 20.0, 2.0, 8)

# torchvision's parts of a block -> ours
PARTS = {
    "f.a.0": "reduce.conv", "f.a.1": "reduce.norm", "f.b.0": "grouped.conv", "f.b.1": "grouped.norm",
    "f.se.fc1": "se.reduce", "f.se.fc2": "se.expand", "f.c.0": "expand.conv", "f.c.1": "expand.norm",
    "proj.0": "shortcut.conv", "proj.1": "shortcut.norm",
}  # fmt: skip


def stirred(network: nn.Module) -> nn.Module:
    """Weights and statistics away from where they start: zeros and ones hide errors."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]:
            tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
    return network.eval()


def small() -> RegNetY:
    widths, depths = regnet_stages(*SMALL)
    return RegNetY(widths, depths, SMALL[-1])


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {}
    for key, value in state.items():
        if match := re.fullmatch(r"trunk_output\.block(\d)\.block\d-(\d+)\.(.*)\.(\w+)", key):
            stage, block, part, end = match.groups()
            ours[f"stages.{int(stage) - 1}.{block}.{PARTS[part]}.{end}"] = value
        elif key.startswith("stem."):
            ours[key.replace("stem.0", "stem.conv").replace("stem.1", "stem.norm")] = value
    return ours


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_to_the_last_digit(name):
    numbers, widths, depths, parameters = PUBLISHED[name]
    assert regnet_stages(*numbers) == (widths, depths)
    with torch.device("meta"):
        network = RegNetY(widths, depths, numbers[-1])
        assert network(torch.empty(1, 3, 224, 224)).shape == (1, widths[-1], 7, 7)
        assert count_parameters(network) + count_parameters(nn.Linear(network.dim, 1000)) == parameters


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (1, 1)])
def test_torchvision_at_odd_sizes(size):
    regnet = peer("torchvision.models.regnet")
    depth, initial, slope, step, group_width = SMALL
    params = regnet.BlockParams.from_init_params(
        depth=depth, w_0=initial, w_a=slope, w_m=step, group_width=group_width, se_ratio=0.25
    )
    theirs = regnet.RegNet(params)
    theirs.fc = nn.Identity()
    stirred(theirs)
    ours = small().eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = theirs(x)
        scale = float(want.abs().max())
        assert_parity(ours.features(x) / scale, want / scale)


def test_timm():
    timm = peer("timm.models.regnet")
    depth, initial, slope, step, group_width = SMALL
    config = timm.RegNetCfg(depth=depth, w0=initial, wa=slope, wm=step, group_size=group_width, se_ratio=0.25)
    theirs = stirred(timm.RegNet(config, num_classes=0))
    names = {
        "conv1.conv": "reduce.conv", "conv1.bn": "reduce.norm", "conv2.conv": "grouped.conv",
        "conv2.bn": "grouped.norm", "se.fc1": "se.reduce", "se.fc2": "se.expand",
        "conv3.conv": "expand.conv", "conv3.bn": "expand.norm", "downsample.conv": "shortcut.conv",
        "downsample.bn": "shortcut.norm",
    }  # fmt: skip
    state = {}
    for key, value in theirs.state_dict().items():
        if match := re.fullmatch(r"s(\d)\.b(\d+)\.(.*)\.(\w+)", key):
            stage, block, part, end = match.groups()
            state[f"stages.{int(stage) - 1}.{int(block) - 1}.{names[part]}.{end}"] = value
        else:
            state[key.replace("stem.bn", "stem.norm")] = value
    ours = small().eval()
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 45, 33)
    with torch.no_grad():
        want = theirs(x)
        scale = float(want.abs().max())
        assert_parity(ours.features(x) / scale, want / scale)


def test_init_sets_every_weight_and_statistic():
    network = small()
    with torch.no_grad():
        for tensor in [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]:
            tensor.fill_(torch.nan)
    network.init_weights()
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())
    conv = network.stages[-1][0].grouped.conv
    assert float(conv.weight.detach().std()) == pytest.approx((2 / (9 * conv.out_channels)) ** 0.5, rel=0.1)


def test_every_weight_gets_a_gradient():
    network = small()
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_numbers_that_describe_no_network():
    with pytest.raises(ValueError, match="multiple of 8"):
        regnet_stages(4, 20, 10.0, 2.0, 8)
    with pytest.raises(ValueError, match="cut into groups of 16"):
        RegNetY((24,), (1,), 16)
