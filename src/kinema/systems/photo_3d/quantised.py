"""Eight-bit arithmetic for the depth network: ranges of activations, rounding of weights, and both while training.

Activations and weights are affine uint8, one scale and zero point for a tensor: real = (q - zero_point) * scale. The
products themselves stay in float: in float64 their sums are exact; in float32 a few land a step beside, depending on
the order of the sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import torch
from torch import Tensor, nn

from kinema.nn.mobile import Add, ConvNorm
from kinema.systems.photo_3d.depth_model import Tiefenrausch

STEPS: Final = 255  # between the smallest and the largest of 256 values
PIECE: Final = 1 << 18  # values
Mode = Literal["off", "observe", "learn", "clamp", "round"]


def scale_and_zero(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point (whole, 0 to 255) of a range, which is widened so that it holds 0."""
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = ((high - low) / STEPS).clamp(min=1e-9)
    return scale, (-low / scale).round().clamp(0, STEPS)


def clamped(x: Tensor, lowest: Tensor, highest: Tensor, out: Tensor | None = None) -> Tensor:
    """`x.clamp` with limits that are tensors of one value, several times as fast on a CPU, for inference."""
    inside = torch.maximum(x, lowest, out=out)
    return torch.minimum(inside, highest, out=inside)


def _pieces(x: Tensor) -> Sequence[Tensor]:
    """All of x, on a CPU in pieces that stay in the cache between one operation and the next."""
    if x.device.type != "cpu" or x.numel() <= PIECE:
        return [x]
    for order in ((0, 1, 2, 3), (0, 2, 3, 1)):  # rows of a picture in memory, or its channels
        if x.ndim == 4 and x.permute(order).is_contiguous():
            return x.permute(order).view(-1).split(PIECE)
    return [x]


def rounded(x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """To the nearest of the 256 values; the gradient passes inside the range, and is 0 beyond it."""
    lowest, highest = -zero * scale, (STEPS - zero) * scale
    if not torch.is_grad_enabled():
        made = torch.empty_like(x)
        for given, part in zip(_pieces(x), _pieces(made)):
            clamped(given, lowest, highest, part).div_(scale).round_().mul_(scale)
        return made
    inside = x.clamp(lowest, highest)
    stepped = (inside.detach() / scale).round() * scale
    return inside + (stepped - inside).detach()


class ActivationQuantiser(nn.Module):
    """What happens to an activation: any shape -> the same.

    Modes:
        off: nothing. observe: nothing, while the range is followed.
        learn: rounded, while the range is followed: quantisation-aware training.
        clamp: to the range, without rounding: the float path of a network that was trained with ranges.
        round: to the nearest of 256 values in the range: the int8 path.

    The range follows the smallest and largest value of every batch by a moving average; the first sets it.
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, momentum: float = 0.05) -> None:
        super().__init__()
        self.momentum = momentum
        self.mode: Mode = "off"
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))

    @torch.no_grad()
    def set(self, scale: float, zero_point: int) -> None:
        """Take the range that 256 values of this scale and zero point span."""
        self.low.fill_(-zero_point * scale)
        self.high.fill_((STEPS - zero_point) * scale)
        self.seen.fill_(1.0)

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        """Move the range towards that of one more batch."""
        low, high = x.amin().float(), x.amax().float()
        weight = torch.where(self.seen > 0, self.momentum, 1.0)
        self.low.lerp_(low, weight)
        self.high.lerp_(high, weight)
        self.seen.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "off":
            return x
        if self.mode in ("observe", "learn"):
            if self.training or self.mode == "observe":
                self.follow(x.detach())
            if self.mode == "observe":
                return x
        scale, zero = scale_and_zero(self.low, self.high)
        if self.mode == "clamp":
            limits = -zero * scale, (STEPS - zero) * scale
            return x.clamp(*limits) if torch.is_grad_enabled() else clamped(x, *limits)
        return rounded(x, scale, zero)


class WeightQuantiser(nn.Module):
    """A weight rounded to 256 values between its own smallest and largest, for quantisation-aware training."""

    def forward(self, weight: Tensor) -> Tensor:
        found = weight.detach()
        return rounded(weight, *scale_and_zero(found.amin(), found.amax()))


def add_quantisers(network: Tiefenrausch, momentum: float = 0.05) -> Tiefenrausch:
    """Put an `ActivationQuantiser`, still off, on the input and behind every convolution and addition; in place.

    Nothing stands between a depthwise convolution and its activation's range: the released network has one there too.
    """
    network.input_quantiser = ActivationQuantiser(momentum)
    for layer in network.modules():
        if isinstance(layer, ConvNorm | Add):
            layer.quantiser = ActivationQuantiser(momentum)
    return network


def quantisers(network: nn.Module) -> Iterable[ActivationQuantiser]:
    """All of a network's activation quantisers."""
    return (layer for layer in network.modules() if isinstance(layer, ActivationQuantiser))


def set_mode(network: nn.Module, mode: Mode) -> None:
    """The mode of all activation quantisers."""
    for layer in quantisers(network):
        layer.mode = mode


def round_weights_while_training(network: nn.Module) -> None:
    """Round the weights of every convolution in the forward pass; the gradient goes to the unrounded ones."""
    for layer in network.modules():
        if isinstance(layer, ConvNorm):
            layer.weight_quantiser = WeightQuantiser()


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Replace the weights of every convolution by the nearest of their 256 values, in place."""
    for layer in network.modules():
        if isinstance(layer, ConvNorm):
            layer.weight_quantiser = None
            layer.conv.weight.copy_(WeightQuantiser()(layer.conv.weight))


@torch.no_grad()
def calibrate(network: Tiefenrausch, batches: Iterable[Tensor]) -> None:
    """Post-training int8, in place: weights rounded, ranges from a few batches (B, 3, H, W), then mode `round`.

    The network has no batch norms any more, see `kinema.nn.mobile.folded`. The range of an activation is the widest
    that any batch had.
    """
    if any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()):
        raise ValueError("fold the batch norms first: their scales belong into the weights that are rounded")
    add_quantisers(network)
    network.eval()
    round_weights(network)
    set_mode(network, "observe")
    widest: list[tuple[Tensor, Tensor]] = []
    for batch in batches:
        for layer in quantisers(network):
            layer.seen.zero_()
        network(batch)
        now = [(layer.low.clone(), layer.high.clone()) for layer in quantisers(network)]
        widest = [(torch.minimum(a, c), torch.maximum(b, d)) for (a, b), (c, d) in zip(widest or now, now)]
    if not widest:
        raise ValueError("calibration needs at least one batch")
    for layer, (low, high) in zip(quantisers(network), widest):
        layer.low.copy_(low)
        layer.high.copy_(high)
    set_mode(network, "round")
