"""What the image and the video autoencoder do alike: encode, sample, decode, with sizes checked at the door.

Letters: B batch, T H W pixel frames, rows, columns; t h w the same of the latent; C latent channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kinema.codecs import blocks
from kinema.codecs.blocks import Conv
from kinema.codecs.config import ImageVAEConfig, TAEConfig
from kinema.codecs.latents import LatentSpec
from kinema.codecs.linear import LinearSkip
from kinema.codecs.networks import Decoder, Encoder
from kinema.errors import UserError

LOGVAR_RANGE = (-30.0, 20.0)  # as in latent diffusion
LOGVAR_START = -8.0  # of a codec that starts from its linear skip: noise 35 dB below the latent


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian over the raw latent; mean and logvar are (B, C, t, h, w)."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw, (B, C, t, h, w)."""
        noise = torch.randn(
            self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype
        )
        return self.mean + torch.exp(0.5 * self.logvar) * noise


@dataclass(frozen=True)
class Reconstruction:
    """Pixels (B, 3, T, H, W), not clamped, the raw latent they were decoded from, and its posterior."""

    pixels: Tensor
    latent: Tensor
    posterior: Posterior


class Codec(nn.Module):
    """Encoder, decoder, the latent's specification and, where the settings have it, the linear skip."""

    def __init__(self, image: ImageVAEConfig, time: TAEConfig | None) -> None:
        super().__init__()
        stride = time.temporal_stride if time is not None else 1
        strides = (stride, image.spatial_stride, image.spatial_stride)
        self.encoder = Encoder(image, time)
        self.decoder = Decoder(image, time)
        channels = image.latent_channels
        self.quant_conv = Conv(2 * channels, 2 * channels, 1) if image.quant_conv else None
        self.post_quant_conv = Conv(channels, channels, 1) if image.quant_conv else None
        self.linear = LinearSkip(strides, channels) if image.linear_skip else None
        self.spec = LatentSpec(strides, channels, mean=image.latent_shift, std=1.0 / image.latent_scale)
        if not self.spec.mean.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """Set every parameter and buffer (for a codec that was built on the meta device)."""
        blocks.init_weights(self)
        self.spec.init_weights()
        if self.linear is not None:
            self.linear.init_weights()
            with torch.no_grad():
                for conv in (self.encoder.conv_out, self.decoder.conv_out):
                    for parameter in conv.parameters(recurse=False):
                        parameter.zero_()
                    if conv is self.encoder.conv_out and conv.bias is not None:
                        conv.bias[self.spec.channels :] = LOGVAR_START

    def posterior(self, pixels: Tensor) -> Posterior:
        """Pixels (B, 3, T, H, W) in [-1, 1] -> Gaussian over the raw latent, T >= 1.

        Raises UserError where the size does not fit the strides.
        """
        check_pixels(pixels)
        latent_frames = self.spec.latent_shape(*pixels.shape[2:])[1]
        moments = self.encoder(blocks.fold(pixels), pixels.shape[2])
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        mean, logvar = blocks.unfold(moments, latent_frames).chunk(2, dim=1)
        if self.linear is not None:
            mean = mean + self.linear.encode(pixels)
        return Posterior(mean, logvar.clamp(*LOGVAR_RANGE))

    def reconstruct(self, raw: Tensor, num_frames: int | None = None) -> Tensor:
        """Raw latent (B, C, t, h, w) -> pixels (B, 3, T, H, W), not clamped; spurious frames discarded.

        Raises UserError where the channels do not fit or `num_frames` does not belong to t latent frames.
        """
        check_latent(raw, self.spec)
        keep = self.spec.num_frames(raw.shape[2], num_frames)
        frames = raw.shape[2] * self.spec.strides[0]
        folded = blocks.fold(raw)
        if self.post_quant_conv is not None:
            folded = self.post_quant_conv(folded)
        pixels = blocks.unfold(self.decoder(folded, raw.shape[2]), frames)
        if self.linear is not None:
            pixels = pixels + self.linear.decode(raw)
        return pixels[:, :, :keep]

    def forward(
        self, pixels: Tensor, generator: torch.Generator | None = None, sample: bool = True
    ) -> Reconstruction:
        """Pixels (B, 3, T, H, W) through the latent and back; the latent is drawn, or its mean."""
        posterior = self.posterior(pixels)
        latent = posterior.sample(generator) if sample else posterior.mean
        return Reconstruction(self.reconstruct(latent, pixels.shape[2]), latent, posterior)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, T, H, W) in [-1, 1] -> normalised latent mean (B, C, ceil(T / st), h, w)."""
        return self.spec.normalise(self.posterior(pixels).mean)

    def decode(self, latent: Tensor, num_frames: int | None = None) -> Tensor:
        """Normalised latent (B, C, t, h, w) -> pixels (B, 3, T, H, W) clamped to [-1, 1].

        T is `num_frames`, or t * stride where that is None.
        """
        check_latent(latent, self.spec)
        return self.reconstruct(self.spec.denormalise(latent), num_frames).clamp(-1.0, 1.0)

    @torch.no_grad()
    def fit_statistics(self, clips: Iterable[Tensor]) -> None:
        """Set the latent's mean and standard deviation for each channel from clips (B, 3, T, H, W)."""
        means = [self.posterior(clip).mean.transpose(0, 1).flatten(1).double() for clip in clips]
        values = torch.cat(means, dim=1)  # (C, everything else)
        self.spec.set_statistics(values.mean(1).float(), values.std(1).clamp_min(1e-6).float())


def check_pixels(pixels: Tensor) -> None:
    """Refuse what is not (B, 3, T, H, W)."""
    if pixels.dim() != 5 or pixels.shape[1] != 3:
        raise UserError(
            "the codec takes pixels of shape (batch, 3, frames, height, width) and got"
            f" {tuple(pixels.shape)}: give an image as a clip of one frame"
        )


def check_latent(latent: Tensor, spec: LatentSpec) -> None:
    """Refuse what is not (B, C, t, h, w)."""
    if latent.dim() != 5 or latent.shape[1] != spec.channels:
        raise UserError(
            f"the codec decodes latents of shape (batch, {spec.channels}, frames, height, width) and"
            f" got {tuple(latent.shape)}: take the codec that made it"
        )


def linear_init_(codec: Codec, clips: Tensor | Iterable[Tensor]) -> float:
    """Start a codec with a linear skip from the principal components of blocks of pixels.

    `clips` is (B, 3, T, H, W), or several such batches. The network's own output is zero after construction,
    so an untrained codec reconstructs just as the projection does. Returns its PSNR in dB on the clips.
    """
    if codec.linear is None:
        raise ValueError("this codec has no linear projection: build it from settings with linear_skip=True")
    return codec.linear.fit([clips] if isinstance(clips, Tensor) else clips)
