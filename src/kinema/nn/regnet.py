"""RegNetY: four stages of residual bottleneck blocks with grouped convolutions and squeeze-excite (2003.13678).

The widths of a whole network follow from five numbers, see `regnet_stages`.
"""

# B batch, C channels, H W rows and columns

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from kinema.nn.mobile import Activation, ConvNorm, SqueezeExcite

RELU: Activation = partial(nn.ReLU, inplace=True)


def regnet_stages(
    depth: int, initial: int, slope: float, step: float, group_width: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and depths of the stages from the five numbers that the paper searched for (2003.13678, section 3.3).

    Block j wants `initial + slope * j` channels; the want is moved to the nearest `initial * step^k`, then to a
    multiple of 8; equal blocks form a stage, whose width is moved to a multiple of the group width.
    """
    if depth < 1 or initial < 8 or initial % 8 or slope < 0 or step <= 1 or group_width < 1:
        raise ValueError(
            f"depth={depth}, initial={initial}, slope={slope}, step={step}, group_width={group_width} describe no "
            "RegNet: initial is a multiple of 8, slope at least 0, step above 1"
        )
    widths = []
    for block in range(depth):
        power = round(math.log((initial + slope * block) / initial) / math.log(step))
        widths.append(round(initial * step**power / 8) * 8)
    stages = [(width, len(list(blocks))) for width, blocks in groupby(widths)]
    group = [min(group_width, width) for width, _ in stages]
    return (
        tuple(round(width / each) * each for (width, _), each in zip(stages, group, strict=True)),
        tuple(length for _, length in stages),
    )


class RegNetBlock(nn.Module):
    """Pointwise, grouped 3x3, squeeze-excite, pointwise, and a shortcut: (B, C, H, W) -> (B, C', H/s, W/s).

    The shortcut is the input itself, or a pointwise convolution of it where the shape changes. The bottleneck of
    squeeze-excite is a share of the block's INPUT width.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, group_width: int, squeeze_excite: float
    ) -> None:
        super().__init__()
        groups = out_channels // min(group_width, out_channels)
        self.reduce = ConvNorm(in_channels, out_channels, activation=RELU)
        self.grouped = ConvNorm(out_channels, out_channels, 3, stride=stride, groups=groups, activation=RELU)
        squeezed = round(squeeze_excite * in_channels)
        self.se = SqueezeExcite(out_channels, squeezed, activation=RELU, gate=nn.Sigmoid)
        self.expand = ConvNorm(out_channels, out_channels)
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = ConvNorm(in_channels, out_channels, stride=stride) if changes else None
        self.activation = RELU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.se(self.grouped(self.reduce(x))))
        return self.activation(y + (x if self.shortcut is None else self.shortcut(x)))


class RegNetY(nn.Module):
    """Normalised RGB into a feature map: (B, 3, H, W) -> (B, C, H/2^(stages+1), W/2^(stages+1)), sizes rounded up.

    The map is not pooled: `features` is.

    Args:
        widths, depths: channels and blocks of each stage; every stage halves rows and columns.
        group_width: channels of a group in the 3x3 convolutions.
        stem: channels behind the first convolution, which halves rows and columns as well.
        squeeze_excite: channels of the squeeze over those that go into the block.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        group_width: int,
        stem: int = 32,
        squeeze_excite: float = 0.25,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, stem, 3, stride=2, activation=RELU)
        self.stages = nn.ModuleList()
        before = stem
        for width, depth in zip(widths, depths, strict=True):
            if width % min(group_width, width):
                raise ValueError(f"a stage of {width} channels cannot be cut into groups of {group_width}")
            blocks = [
                RegNetBlock(
                    width if number else before,
                    width,
                    stride=1 if number else 2,
                    group_width=group_width,
                    squeeze_excite=squeeze_excite,
                )
                for number in range(depth)
            ]
            self.stages.append(nn.Sequential(*blocks))
            before = width
        self.dim = before
        if not self.stem.conv.weight.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Convolutions N(0, 2 / (k*k*C')), where C' counts the outputs of all groups; biases 0, norms 1 and 0."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(
                    layer.weight, std=(2 / (layer.kernel_size[0] ** 2 * layer.out_channels)) ** 0.5
                )
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x

    def features(self, x: Tensor) -> Tensor:
        """The mean of the map over rows and columns: (B, 3, H, W) -> (B, C)."""
        return self(x).mean((2, 3))
