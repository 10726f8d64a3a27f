"""Pixels into the first tokens of a vision transformer: by patches, by patches with time, by small convolutions.

A stem has `dim`, says with `grid(x)` how many tokens an input becomes along time, rows and columns, and gives them as
(B, N, D), row-major. The two that cut patches can also make the tokens of some places alone, for masked training.
"""

# B batch, C channels, T H W frames, rows and columns, D width, N tokens, K tokens that are kept

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.mobile import Activation, ConvNorm
from kinema.nn.patches import patchify

Grid = tuple[int, int, int]  # tokens along time, rows and columns; an image has one along time


class PatchStem(nn.Module):
    """A convolution whose stride is its kernel: (B, C, H, W) -> (B, H/p * W/p, D).

    Args:
        patch: side of a square patch, in pixels.
    """

    def __init__(self, dim: int, patch: int, channels: int = 3) -> None:
        super().__init__()
        self.dim, self.patch = dim, (1, patch, patch)
        self.proj = nn.Conv2d(channels, dim, patch, stride=patch)

    def init_weights(self) -> None:
        """Xavier-uniform, as for a linear layer on patches."""
        _init_projection(self.proj)

    def grid(self, x: Tensor) -> Grid:
        """Raises ValueError for pixels that the patch does not divide."""
        return _divided((1, *x.shape[2:]), self.patch)

    def forward(self, x: Tensor) -> Tensor:
        self.grid(x)
        return self.proj(x).flatten(2).transpose(1, 2)

    def kept(self, x: Tensor, keep: Tensor) -> Tensor:
        """The tokens at the places `keep` (B, K) alone, at the cost of so many: (B, K, D)."""
        patches = patchify(x, self.patch[1:]).take_along_dim(keep[..., None], 1)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class TubeStem(nn.Module):
    """A convolution over patches of time and space: (B, C, T, H, W) -> (B, T/t * H/p * W/p, D).

    An image, (B, C, H, W) or a clip of one frame, is a scene that stands still for t frames: its tokens come from the
    kernel summed over time, which is the same and costs a t-th. It has one token along time.

    Args:
        patch: frames, rows and columns of a patch.
    """

    def __init__(self, dim: int, patch: Grid, channels: int = 3) -> None:
        super().__init__()
        self.dim, self.patch = dim, patch
        self.proj = nn.Conv3d(channels, dim, patch, stride=patch)

    def init_weights(self) -> None:
        """Xavier-uniform, as for a linear layer on patches."""
        _init_projection(self.proj)

    def grid(self, x: Tensor) -> Grid:
        """Raises ValueError for frames or pixels that the patch does not divide."""
        frames = 1 if _is_image(x) else x.shape[2]
        patch = (1, *self.patch[1:]) if frames == 1 else self.patch
        return _divided((frames, *x.shape[-2:]), patch)

    def forward(self, x: Tensor) -> Tensor:
        self.grid(x)
        if _is_image(x):
            still = F.conv2d(
                _image(x), self.proj.weight.sum(2), self.proj.bias, stride=self.patch[1:]
            )  # (B, D, H/p, W/p)
            return still.flatten(2).transpose(1, 2)
        return self.proj(x).flatten(2).transpose(1, 2)

    def kept(self, x: Tensor, keep: Tensor) -> Tensor:
        """The tokens at the places `keep` (B, K) alone, at the cost of so many: (B, K, D)."""
        if _is_image(x):
            patches, weight = patchify(_image(x), self.patch[1:]), self.proj.weight.sum(2)
        else:
            patches, weight = patchify(x, self.patch), self.proj.weight
        return F.linear(patches.take_along_dim(keep[..., None], 1), weight.flatten(1), self.proj.bias)


class ConvStem(nn.Module):
    """Small convolutions with norm and activation, then one without either: (B, C, H, W) -> (B, H/s * W/s, D).

    Args:
        widths: channels of each 3x3 convolution.
        strides: of each, 1 or 2.
        patch: kernel and stride of the last convolution: 1 makes it a plain change of width.
        norm, activation: behind each 3x3 convolution, see `ConvNorm`; without both the stack is linear.
    """

    def __init__(
        self,
        dim: int,
        widths: Sequence[int],
        strides: Sequence[int],
        *,
        patch: int = 1,
        channels: int = 3,
        norm: bool = True,
        activation: Activation | None = nn.ReLU,
    ) -> None:
        super().__init__()
        if len(widths) != len(strides):
            raise ValueError(
                f"{len(widths)} widths and {len(strides)} strides: each convolution has one of each"
            )
        self.dim = dim
        self.strides = (*strides, patch)
        self.layers = nn.ModuleList(
            ConvNorm(before, width, 3, stride=stride, norm="batch" if norm else "none", activation=activation)
            for before, width, stride in zip((channels, *widths), widths, strides)
        )
        self.last = nn.Conv2d(widths[-1] if widths else channels, dim, patch, stride=patch)

    def init_weights(self) -> None:
        """Kaiming-normal by fan-out for what an activation follows, Xavier-uniform for the last."""
        for layer in self.layers:
            assert isinstance(layer, ConvNorm)
            nn.init.kaiming_normal_(layer.conv.weight, mode="fan_out", nonlinearity="relu")
            if layer.norm is not None:
                layer.norm.reset_running_stats()
                layer.norm.reset_parameters()
        _init_projection(self.last)

    def grid(self, x: Tensor) -> Grid:
        """Raises ValueError for pixels that the last patch does not divide; the others round up."""
        rows, columns = x.shape[2:]
        for stride in self.strides[:-1]:
            rows, columns = -(-rows // stride), -(-columns // stride)
        return _divided((1, rows, columns), (1, self.strides[-1], self.strides[-1]))

    def forward(self, x: Tensor) -> Tensor:
        self.grid(x)
        for layer in self.layers:
            x = layer(x)
        return self.last(x).flatten(2).transpose(1, 2)


Stem = PatchStem | TubeStem | ConvStem


def _is_image(x: Tensor) -> bool:
    return x.ndim == 4 or x.shape[2] == 1


def _image(x: Tensor) -> Tensor:
    return x if x.ndim == 4 else x[:, :, 0]


def _divided(size: Sequence[int], patch: Sequence[int]) -> Grid:
    if any(length % step or not length for length, step in zip(size, patch, strict=True)):
        raise ValueError(
            f"{' x '.join(map(str, size))} (frames, rows, columns) is no multiple of the patch "
            f"{' x '.join(map(str, patch))}: resize or crop it"
        )
    frames, rows, columns = (length // step for length, step in zip(size, patch, strict=True))
    return frames, rows, columns


@torch.no_grad()
def _init_projection(layer: nn.Conv2d | nn.Conv3d) -> None:
    nn.init.xavier_uniform_(layer.weight.view(len(layer.weight), -1))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
