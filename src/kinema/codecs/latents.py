"""What a latent space looks like from outside: strides, channels and the statistics that normalise it.

Letters: B batch, T H W pixel frames, rows, columns; t h w the same of the latent; C latent channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinema.errors import UserError


def ceil_div(value: int, divisor: int) -> int:
    """Smallest integer that is at least value / divisor."""
    return -(-value // divisor)


class LatentSpec(nn.Module):
    """Strides (time, height, width), channels, and a mean and standard deviation for each channel.

    The statistics are buffers of the codec, so they travel with its checkpoint. A normalised latent is
    `(raw - mean) / std`; a scale and shift in the manner of Stable Diffusion 3 is `mean=shift, std=1/scale`.
    A clip of T frames has ceil(T / stride) latent frames; a causal codec keeps the first frame by itself, which
    makes 1 + ceil((T - 1) / stride).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        strides: tuple[int, int, int],
        channels: int,
        mean: Sequence[float] | float = 0.0,
        std: Sequence[float] | float = 1.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.channels = channels
        self.causal = causal
        self._initial = (mean, std)
        self.register_buffer("mean", torch.empty(channels))
        self.register_buffer("std", torch.empty(channels))
        if not self.mean.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """Set the statistics to those given at construction."""
        mean, std = self._initial
        self.set_statistics(_per_channel(mean, self.channels), _per_channel(std, self.channels))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Replace the statistics by `mean` and `std`, both (C,)."""
        if mean.shape != (self.channels,) or std.shape != (self.channels,) or not bool((std > 0).all()):
            raise ValueError(
                f"mean {tuple(mean.shape)} and std {tuple(std.shape)} do not fit {self.channels} latent"
                " channels: give one value a channel, each std above zero"
            )
        self.mean.copy_(mean)
        self.std.copy_(std)

    def normalise(self, raw: Tensor) -> Tensor:
        """Raw latent (B, C, t, h, w) -> zero mean and unit variance in each channel, same shape."""
        return (raw - _over_channels(self.mean, raw)) / _over_channels(self.std, raw)

    def denormalise(self, latent: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return latent * _over_channels(self.std, latent) + _over_channels(self.mean, latent)

    def latent_frames(self, num_frames: int) -> int:
        """The latent frames of a clip of `num_frames` frames."""
        alone = int(self.causal)
        return alone + ceil_div(num_frames - alone, self.strides[0])

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, t, h, w) of a clip.

        Raises UserError where height or width is not a multiple of its stride.
        """
        _, sh, sw = self.strides
        if num_frames < 1:
            raise UserError(f"the clip has {num_frames} frames and the codec takes at least one")
        if height % sh or width % sw or height < sh or width < sw:
            near = f"{max(sh, round(height / sh) * sh)}x{max(sw, round(width / sw) * sw)}"
            raise UserError(
                f"the picture is {height}x{width} (height x width) and this codec takes a height that is a"
                f" multiple of {sh} and a width that is a multiple of {sw}: resize or crop it, to {near} say"
            )
        return self.channels, self.latent_frames(num_frames), height // sh, width // sw

    def num_frames(self, latent_frames: int, wanted: int | None = None) -> int:
        """Frames to keep of a decoded latent: all of them, or `wanted` of them (the rest is spurious).

        All are t * stride, of a causal codec 1 + (t - 1) * stride.

        Raises UserError where `wanted` frames would not have been encoded to `latent_frames`.
        """
        stride = self.strides[0]
        whole = latent_frames * stride - (stride - 1 if self.causal else 0)
        if wanted is None:
            return whole
        if wanted < 1 or self.latent_frames(wanted) != latent_frames:
            raise UserError(
                f"{latent_frames} latent frames decode to {max(1, whole - stride + 1)} to {whole} frames and"
                f" num_frames={wanted} was asked for: pass one of those, or None for {whole}"
            )
        return wanted

    def extra_repr(self) -> str:
        return f"strides={self.strides}, channels={self.channels}"


def _per_channel(value: Sequence[float] | float, channels: int) -> Tensor:
    values = [float(value)] * channels if isinstance(value, (int, float)) else [float(v) for v in value]
    return torch.tensor(values, dtype=torch.float32)


def _over_channels(statistic: Tensor, latent: Tensor) -> Tensor:
    return statistic.to(latent.dtype).view(1, -1, *([1] * (latent.dim() - 2)))
