"""The sound autoencoder of Movie Gen Audio: 48 kHz mono into 25 latent frames a second and back.

A Descript Audio Codec without quantisation, trained as a variational autoencoder. Stereo goes through as a batch:
(B, 2, N) -> `sound.flatten(0, 1)[:, None]`.

Letters: B batch, N samples, C latent channels, T latent frames (of `hop` samples).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.codecs.codec import Posterior
from kinema.codecs.dac_config import DacVAEConfig
from kinema.codecs.dac_layers import (
    DILATIONS,
    KERNEL,
    DecoderBlock,
    EncoderBlock,
    NormedConv1d,
    Snake,
    mdct,
)
from kinema.codecs.dac_noise import PERIOD, BandEnergies, ShapedNoise
from kinema.codecs.dac_watermark import Watermark
from kinema.codecs.latents import LatentSpec
from kinema.codecs.stitch import collect
from kinema.errors import UserError

TILE = 250  # latent frames that are worked on at once: 10 s
SMALLEST_STD = 1e-4


@dataclass(frozen=True)
class SoundReconstruction:
    """Sound (B, 1, N), the raw latent (B, C, T) it was decoded from, and its posterior."""

    sound: Tensor
    latent: Tensor
    posterior: Posterior


class SoundEncoder(nn.Module):
    """Sound (B, 1, T * hop) -> (B, trunk, T)."""

    def __init__(self, config: DacVAEConfig) -> None:
        super().__init__()
        widths, normed = config.encoder_widths, config.weight_norm
        size, stride = (KERNEL, 1) if config.frame == 1 else (2 * config.frame, config.frame)
        self.block = nn.Sequential(
            NormedConv1d(1, widths[0], size, stride, normed=normed),
            *([BandEnergies(widths[0], config.frame)] if config.noise else []),
            *(EncoderBlock(a, b, rate, normed) for a, b, rate in zip(widths, widths[1:], config.rates)),
            Snake(widths[-1]),
            NormedConv1d(widths[-1], config.trunk, 3, normed=normed),
        )

    def forward(self, sound: Tensor) -> Tensor:
        """(B, 1, T * hop) -> (B, trunk, T)."""
        return self.block(sound)


class SoundDecoder(nn.Module):
    """(B, trunk, T) -> sound (B, 1, T * hop) in [-1, 1]."""

    def __init__(self, config: DacVAEConfig) -> None:
        super().__init__()
        widths, normed, rates = config.decoder_widths, config.weight_norm, config.rates[::-1]
        last = (
            NormedConv1d(widths[-1], 1, KERNEL, normed=normed)
            if config.frame == 1
            else NormedConv1d(widths[-1], 1, 2 * config.frame, config.frame, transposed=True, normed=normed)
        )
        self.model = nn.Sequential(
            NormedConv1d(config.trunk, widths[0], KERNEL, normed=normed),
            *(DecoderBlock(a, b, rate, normed) for a, b, rate in zip(widths, widths[1:], rates)),
            *([ShapedNoise(widths[-1], config.frame)] if config.noise else []),
            Snake(widths[-1]),
            last,
            nn.Tanh(),
        )

    def forward(self, trunk: Tensor, start: int = 0) -> Tensor:
        """(B, trunk, T), of which noise begins at position `start` -> (B, 1, T * hop)."""
        for layer in self.model:
            trunk = layer(trunk, start) if isinstance(layer, ShapedNoise) else layer(trunk)
        return trunk


class DacVAE(nn.Module):
    """Encoder, Gaussian latent, decoder, the latent's statistics and, where the settings have one, the watermark."""

    def __init__(self, config: DacVAEConfig | None = None) -> None:
        super().__init__()
        self.config = config or DacVAEConfig.preset("full")
        self.encoder = SoundEncoder(self.config)
        self.decoder = SoundDecoder(self.config)
        channels, trunk, normed = self.config.latent_channels, self.config.trunk, self.config.weight_norm
        self.in_proj = NormedConv1d(trunk, 2 * channels, 1, normed=normed)
        self.out_proj = NormedConv1d(channels, trunk, 1, normed=normed)
        self.watermark = Watermark(self.config) if self.config.watermark is not None else None
        self.spec = LatentSpec((self.config.hop, 1, 1), channels)
        if not self.spec.mean.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """Set every parameter and buffer (for a codec that was built on the meta device)."""
        for module in self.modules():
            if isinstance(module, (NormedConv1d, Snake, LatentSpec, Watermark, BandEnergies, ShapedNoise)):
                module.init_weights()
        size = self.config.frame
        if size > 1:
            for conv in (self.encoder.block[0], self.decoder.model[-2]):
                assert isinstance(conv, NormedConv1d)
                value = conv.kernels().detach().clone()
                value[:size] = mdct(size)
                conv.set_kernels(value)

    # ---- the latent -----------------------------------------------------------------------------------------

    def posterior(self, sound: Tensor) -> Posterior:
        """Sound (B, 1, N) -> Gaussian over the raw latent (B, C, T)."""
        return self._moments(self.padded(sound))

    def _moments(self, sound: Tensor) -> Posterior:
        mean, scale = self.in_proj(self.encoder(sound)).chunk(2, dim=1)
        return Posterior(mean, 2.0 * (F.softplus(scale) + SMALLEST_STD).log())

    def reconstruct(self, raw: Tensor, samples: int | None = None, start: int = 0) -> Tensor:
        """Raw latent (B, C, T) -> sound (B, 1, N) without watermark, in one piece; `start` as in the decoder."""
        keep = self.samples(raw.shape[-1], samples)
        return self.decoder(self.out_proj(raw), start)[..., :keep]

    def forward(
        self, sound: Tensor, generator: torch.Generator | None = None, sample: bool = True
    ) -> SoundReconstruction:
        """Sound (B, 1, N) through the latent and back; the latent is drawn, or its mean.

        With a generator the decoder's noise, if it has any, is not the same from one call to the next.
        """
        posterior = self.posterior(sound)
        latent = posterior.sample(generator) if sample else posterior.mean
        start = 0
        if self.config.noise and generator is not None:
            start = int(torch.randint(PERIOD, (), generator=generator, device=generator.device))
        return SoundReconstruction(self.reconstruct(latent, sound.shape[-1], start), latent, posterior)

    # ---- what users call ------------------------------------------------------------------------------------

    def encode(self, sound: Tensor, tile: int | None = TILE) -> Tensor:
        """Sound (B, 1, N) in [-1, 1] -> normalised latent mean (B, C, ceil(N / hop)).

        Longer sounds than `tile` latent frames are worked on in pieces, with as much around each as the network
        sees: the latent is that of the whole. Raises UserError for a sound that is not mono or empty.
        """
        padded, hop = self.padded(sound), self.config.hop

        def run(first: int, last: int) -> Tensor:
            return self._moments(padded[..., first * hop : last * hop]).mean

        length = padded.shape[-1] // hop
        return self.spec.normalise(collect(_pieces(run, length, tile, self.encoder_reach, 1), 2, length))

    def decode(self, latent: Tensor, samples: int | None = None, tile: int | None = TILE) -> Tensor:
        """Normalised latent (B, C, T) -> sound (B, 1, N), N being `samples`, or T * hop where that is None.

        In pieces as `encode`. With a watermark in the settings the sound carries its message.
        """
        check_latent(latent, self.spec)
        keep = self.samples(latent.shape[-1], samples)
        whole = latent.shape[-1] * self.config.hop
        sound = collect(self._decoded(latent, tile), 2, whole)
        return self.mark(sound)[..., :keep] if self.watermark is not None else sound[..., :keep]

    def decode_stream(self, latent: Tensor, tile: int = TILE) -> Iterator[Tensor]:
        """As `decode`, piece by piece: yields (B, 1, tile * hop), the last one shorter; memory does not grow.

        Raises UserError of a codec with a watermark, whose layers look at the whole sound.
        """
        check_latent(latent, self.spec)
        if self.watermark is not None:
            raise UserError(
                "a watermarked sound cannot be decoded piece by piece: call decode, or take the codec without"
                " its watermark"
            )
        return self._decoded(latent, tile)

    def _decoded(self, latent: Tensor, tile: int | None) -> Iterator[Tensor]:
        def run(first: int, last: int) -> Tensor:
            raw = self.spec.denormalise(latent[..., first:last])
            return self.decoder(self.out_proj(raw), first * self.config.hop // self.config.frame)

        return _pieces(run, latent.shape[-1], tile, self.decoder_reach, self.config.hop)

    def mark(self, sound: Tensor, message: Tensor | None = None) -> Tensor:
        """Hide a message (B, 16) of bits, or that of the settings, in a sound (B, 1, N): -> (B, 1, N)."""
        if self.watermark is None or self.config.watermark is None:
            raise UserError(
                "this codec has no watermark layers: build it from settings with watermark=(0, 1, ...)"
            )
        if message is None:
            message = torch.tensor([self.config.watermark], device=sound.device)
        padded = self.padded(sound)
        return (padded + self.watermark(padded, message))[..., : sound.shape[-1]]

    # ---- sizes ----------------------------------------------------------------------------------------------

    def padded(self, sound: Tensor) -> Tensor:
        """Fill up (B, 1, N) to a multiple of hop with its mirror image, or with zeros where it is too short."""
        if sound.dim() != 3 or sound.shape[1] != 1 or sound.shape[-1] < 1:
            raise UserError(
                f"the codec takes sound of shape (batch, 1, samples) and got {tuple(sound.shape)}: mix it down to"
                " mono, or pass its channels as a batch"
            )
        missing = -sound.shape[-1] % self.config.hop
        mode = "reflect" if missing < sound.shape[-1] else "constant"
        return F.pad(sound, (0, missing), mode) if missing else sound

    def samples(self, frames: int, wanted: int | None = None) -> int:
        """Samples to keep of `frames` decoded latent frames: all, or `wanted`.

        Raises UserError where `wanted` samples would not have been encoded to `frames` latent frames.
        """
        whole = frames * self.config.hop
        if wanted is None:
            return whole
        if not whole - self.config.hop < wanted <= whole:
            raise UserError(
                f"{frames} latent frames decode to {whole - self.config.hop + 1} to {whole} samples and"
                f" samples={wanted} was asked for: pass one of those, or None for {whole}"
            )
        return wanted

    @property
    def encoder_reach(self) -> int:
        """Latent frames to either side that one latent frame depends on."""
        return math.ceil(1 + _reach(self.config, self.config.frame))

    @property
    def decoder_reach(self) -> int:
        """Latent frames to either side that a sample depends on."""
        return math.ceil(KERNEL // 2 + _reach(self.config, self.config.frame))

    # ---- changes --------------------------------------------------------------------------------------------

    def folded(self) -> DacVAE:
        """A copy for inference, with weights as they are used in place of their norms and directions."""
        out = copy.deepcopy(self).requires_grad_(False)
        out.config = replace(self.config, weight_norm=False)
        for module in out.modules():
            if isinstance(module, NormedConv1d):
                module.fold()
        return out.eval()

    @torch.no_grad()
    def fit_statistics(self, sounds: Iterable[Tensor]) -> None:
        """Set the latent's mean and standard deviation for each channel from sounds (B, 1, N)."""
        means = [self.posterior(sound).mean.transpose(0, 1).flatten(1).double() for sound in sounds]
        values = torch.cat(means, dim=1)  # (C, everything else)
        self.spec.set_statistics(values.mean(1).float(), values.std(1).clamp_min(1e-6).float())


def _reach(config: DacVAEConfig, frame: int) -> float:
    """Latent frames to either side that the strided layers and residual units see, in either direction."""
    units = sum(DILATIONS) * (KERNEL // 2)  # samples at the level's own rate
    per_frame, total = config.hop / frame, 0.0  # steps of the finest level to a latent frame
    total += (KERNEL // 2 if frame == 1 else 1) / per_frame
    for rate in config.rates:
        total += units / per_frame
        per_frame /= rate
        total += 1 / per_frame
    return total


def _pieces(
    run: Callable[[int, int], Tensor], length: int, tile: int | None, reach: int, unit: int
) -> Iterator[Tensor]:
    """Results of `run(first, last)` on tiles of latent frames, each with `reach` more around it that is cut off.

    One latent frame is `unit` positions of the result's last axis.
    """
    if tile is None or length <= tile + 2 * reach:
        yield run(0, length)
        return
    if tile < 1:
        raise UserError(f"tile={tile} latent frames must be at least 1")
    for first in range(0, length, tile):
        last = min(first + tile, length)
        begin = max(0, first - reach)
        out = run(begin, min(length, last + reach))
        yield out.narrow(-1, (first - begin) * unit, (last - first) * unit)


def check_latent(latent: Tensor, spec: LatentSpec) -> None:
    """Refuse what is not (B, C, T)."""
    if latent.dim() != 3 or latent.shape[1] != spec.channels:
        raise UserError(
            f"the codec decodes latents of shape (batch, {spec.channels}, frames) and got"
            f" {tuple(latent.shape)}: take the codec that made it"
        )
