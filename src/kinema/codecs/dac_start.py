"""A start for a sound codec in frames: the best linear code of some sounds, which training then improves on.

Strides begin as the principal components of what comes in (Karhunen-Loeve), going back through their transposes, and
residual units nearly silent. From random weights the same network needs thousands of steps to get as far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinema.codecs.dac_config import GROUPS
from kinema.codecs.dac_layers import DecoderBlock, EncoderBlock, NormedConv1d, ResidualUnit, Snake
from kinema.codecs.dac_noise import BandEnergies, ShapedNoise
from kinema.codecs.dac_vae import DacVAE

CURVE = 0.002  # of the Snakes between stages: nearly a straight line
ENERGIES = 5 / 12  # share of the latent's channels for the bands' energies
UNITS = 0.001  # factor on what residual units add
REST = 1e-4  # deviation of the weights that the code does not use
SPREAD = -3.0  # of the latent before softplus: a deviation of 0.05


@torch.no_grad()
def principal_components(x: Tensor, stride: int, most: int) -> tuple[Tensor, Tensor]:
    """Components of blocks of (B, C, N), and their values: (K, C, stride) and (B, K, N // stride), K up to `most`."""
    channels, blocks = x.shape[1], x.shape[2] // stride
    rows = (
        x[..., : blocks * stride].unflatten(2, (blocks, stride)).permute(0, 2, 1, 3).flatten(2)
    )  # (B, n, Cs)
    flat = rows.flatten(0, 1).double()
    _, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    kept = vectors.flip(1)[:, : min(most, channels * stride)].float()  # (Cs, K)
    return kept.T.unflatten(1, (channels, stride)), (rows @ kept).transpose(1, 2)


@torch.no_grad()
def linear_start(codec: DacVAE, sounds: Tensor) -> None:
    """Set a codec's weights from sounds (B, 1, N). Raises ValueError for a codec without frames."""
    config = codec.config
    if config.frame == 1:
        raise ValueError("the linear start is that of a codec in frames: set frame above 1")
    encoder, decoder = list(codec.encoder.block), list(codec.decoder.model)
    _quiet_units(codec, (encoder[0], decoder[-2]))
    x = encoder[0](sounds)
    parts = [x[:, : config.frame]]
    stages, first = len(config.rates), 1
    if config.noise:
        energies, noise = encoder[1], decoder[-4]
        assert isinstance(energies, BandEnergies)
        assert isinstance(noise, ShapedNoise)
        parts.append(_centred(energies, noise, energies(x)[:, config.frame :][:, :GROUPS]))
        first = 2
    head = _conv(decoder[-2])
    weight = head.kernels().clone()
    weight[config.frame :] *= REST  # what is beside the bands is not to be heard
    head.set_kernels(weight)
    down = [_conv(stage[-1]) for stage in _blocks(encoder[first : first + stages])]
    up = [_conv(stage[1]) for stage in _blocks(decoder[1 : 1 + stages])][::-1]
    energies_kept = round(ENERGIES * config.latent_channels)
    for number, (there, back) in enumerate(zip(down, up, strict=True), start=1):
        most = min(there.kernels().shape[0], back.kernels().shape[0])
        basis, parts = _joint(parts, there.stride, most, min(number * GROUPS, energies_kept))
        _place(there, basis)
        _place(back, basis)
    basis, parts = _joint(parts, 1, config.latent_channels, energies_kept)
    _place(_conv(encoder[-1]), basis)
    _place(_conv(decoder[0]), basis.transpose(0, 1))
    sizes = torch.cat([part.std((0, 2)) for part in parts])
    scale = torch.diag(1 / sizes.clamp(min=0.02 * float(sizes.max())))[:, :, None]
    _place(codec.in_proj, scale)
    _place(codec.out_proj, torch.linalg.inv(scale[:, :, 0])[:, :, None])
    assert codec.in_proj.bias is not None
    codec.in_proj.bias[config.latent_channels :] = SPREAD


def _quiet_units(codec: DacVAE, ends: tuple[nn.Module, ...]) -> None:
    """Weights of the usual size inside residual units, hardly anything out of them; the way past them is straight."""
    for module in codec.modules():
        if isinstance(module, NormedConv1d) and module not in ends:
            weight = module.kernels()
            module.set_kernels(torch.randn(weight.shape) / math.sqrt(weight[0].numel()))
        if isinstance(module, Snake):
            nn.init.constant_(module.alpha, CURVE)
    for module in codec.modules():
        if isinstance(module, ResidualUnit):
            for layer in module.block:
                if isinstance(layer, Snake):
                    nn.init.ones_(layer.alpha)
            last = _conv(module.block[-1])
            last.set_kernels(UNITS * last.kernels())


def _conv(module: nn.Module) -> NormedConv1d:
    """The module, which is a convolution."""
    assert isinstance(module, NormedConv1d)
    return module


def _blocks(stages: Sequence[nn.Module]) -> list[nn.Sequential]:
    """The layers of strided stages."""
    return [stage.block for stage in stages if isinstance(stage, (EncoderBlock, DecoderBlock))]


def _centred(energies: BandEnergies, noise: ShapedNoise, seen: Tensor) -> Tensor:
    """Have the energies come in without their mean, which the noise's loudness then holds itself."""
    where = slice(energies.bands, energies.bands + GROUPS)
    mean = seen.mean((0, 2))
    assert energies.mix.bias is not None
    assert noise.loudness.bias is not None
    energies.mix.bias[where] -= mean
    noise.loudness.bias += noise.loudness.weight[:, where, 0] @ mean
    return seen - mean[:, None]


def _joint(parts: list[Tensor], stride: int, most: int, energies: int) -> tuple[Tensor, list[Tensor]]:
    """Components of the wave and of the energies apart, as one basis (K, C, stride), and both parts' values."""
    kept = [most] if len(parts) == 1 else [most - energies, energies]
    found = [principal_components(part, stride, count) for part, count in zip(parts, kept, strict=True)]
    bases = [basis for basis, _ in found]
    rows = sum(len(basis) for basis in bases)
    whole, row, column = torch.zeros(rows, sum(b.shape[1] for b in bases), stride), 0, 0
    for basis in bases:
        whole[row : row + len(basis), column : column + basis.shape[1]] = basis
        row, column = row + len(basis), column + basis.shape[1]
    return whole, [values for _, values in found]


def _place(conv: NormedConv1d, basis: Tensor) -> None:
    """Put (K, C, stride) in the middle of a convolution's kernels; everything else is nearly nothing."""
    weight = REST * torch.randn(conv.kernels().shape) * float(basis.std())
    begin = (conv.kernel - basis.shape[2] + 1) // 2
    weight[: basis.shape[0], : basis.shape[1], begin : begin + basis.shape[2]] += basis
    conv.set_kernels(weight)
