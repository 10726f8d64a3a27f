"""Nano's frame-wise codec: the principal components of 8x8 blocks of one frame, and nothing else.

The paper encodes every frame by itself with its image autoencoder. At nano's size a linear projection on the leading
components does that at no cost on a CPU, and shows a loss of 37 dB where the upsampler's own is above 30.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kinema.codecs.codec import check_latent, check_pixels
from kinema.codecs.latents import LatentSpec
from kinema.codecs.linear import LinearSkip

STRIDE, CHANNELS = 8, 64


class FrameCodec(nn.Module):
    """Pixels (B, 3, T, H, W) in [-1, 1] to a latent (B, C, T, H / stride, W / stride) and back."""

    def __init__(self, stride: int = STRIDE, channels: int = CHANNELS) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels
        self.linear = LinearSkip((1, stride, stride), channels)
        self.spec = LatentSpec((1, stride, stride), channels)
        if not self.spec.mean.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """An arbitrary projection, until `fit` has seen clips."""
        self.linear.init_weights()
        self.spec.init_weights()

    def fit(self, clips: Iterable[Tensor]) -> float:
        """Take the principal components of the clips' blocks; gives the PSNR in dB that they alone reach."""
        return self.linear.fit(clips)

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> whitened components (B, C, T, h, w)."""
        check_pixels(pixels)
        self.spec.latent_shape(*pixels.shape[2:])
        return self.spec.normalise(self.linear.encode(pixels))

    def decode(self, latent: Tensor, num_frames: int | None = None) -> Tensor:
        """(B, C, T, h, w) -> (B, 3, T, H, W), clamped to [-1, 1]."""
        check_latent(latent, self.spec)
        frames = self.spec.num_frames(latent.shape[2], num_frames)
        return self.linear.decode(self.spec.denormalise(latent))[:, :, :frames].clamp(-1, 1)


@torch.no_grad()
def fitted(clips: Iterable[Tensor], stride: int = STRIDE, channels: int = CHANNELS) -> FrameCodec:
    """A codec that stands at the principal components of these clips."""
    codec = FrameCodec(stride, channels)
    codec.fit(clips)
    return codec
