"""Energies of bands into the encoder, and noise in bands out of the decoder.

A wave of noise holds nothing to be learnt but how loud it is in each band, and a small decoder cannot make the noise
itself. So the encoder is shown the logarithms of the bands' energies, and the decoder says how loud noise is to be that
is added for it. The noise is a table, read by position: the same sound comes out every time, in one piece or in many.

Letters: B batch, C channels, N positions (of `frame` samples).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.codecs.dac_config import GROUPS

PERIOD = 7919  # positions until the noise comes again: 6.6 s of nano's, and prime
FLOOR = 1e-12  # energy below which a band is silent
SCALE, CENTRE = 0.05, 7.0  # energies come in as SCALE * (log10 + CENTRE), the size of the wave beside them
LOWEST, LOUDEST = -16.0, 2.0  # natural logarithm of the noise's amplitude
WIDER = 1.35  # a group of bands than the one below it
WAVES = 1  # the lowest groups of bands, which the wave itself carries at first
QUIETER = 3.0  # nepers that noise begins quieter there


def groups(bands: int) -> Tensor:
    """(GROUPS, bands): how the bands share in the groups, each row summing to 1; the low ones are narrow."""
    grown = [bands * (WIDER**k - 1) / (WIDER**GROUPS - 1) for k in range(1, GROUPS)]
    edges = torch.tensor([max(k, round(edge)) for k, edge in enumerate(grown, start=1)])
    rows = F.one_hot(torch.bucketize(torch.arange(bands), edges, right=True), GROUPS).T.float()
    return rows / rows.sum(1, keepdim=True)


class BandEnergies(nn.Module):
    """Adds a mix of the logarithms of all channels' squares; at first means of groups, in channels of their own."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.mix = nn.Conv1d(channels, channels, 1)

    @torch.no_grad()
    def init_weights(self) -> None:
        """The mean over each group of bands, into the channels after those of the bands."""
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]
        self.mix.weight[self.bands : self.bands + GROUPS, : self.bands, 0] = groups(self.bands)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> same."""
        return x + self.mix(SCALE * ((x.square() + FLOOR).log10() + CENTRE))


class ShapedNoise(nn.Module):
    """Adds noise whose loudness in each channel is read from all of them."""

    table: Tensor

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.loudness = nn.Conv1d(channels, channels, 1)
        self.register_buffer("table", torch.empty(channels, PERIOD), persistent=False)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Read the energies where `BandEnergies` puts them, the groups that the wave carries more quietly."""
        self.table.copy_(torch.randn(self.table.shape, generator=torch.Generator().manual_seed(0)))
        nn.init.zeros_(self.loudness.weight)
        nn.init.constant_(self.loudness.bias, LOWEST)  # type: ignore[arg-type]
        nepers = 0.5 * torch.log(torch.tensor(10.0))  # of an amplitude, to a power of ten of energy
        spread = (groups(self.bands) > 0).float().T  # (bands, GROUPS)
        self.loudness.weight[: self.bands, self.bands : self.bands + GROUPS, 0] = spread * nepers / SCALE
        quieter = QUIETER * (spread.argmax(1) < WAVES)
        self.loudness.bias[: self.bands] = -nepers * CENTRE - quieter  # type: ignore[index]

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """(B, C, N), whose first position is number `start` -> same."""
        at = (torch.arange(x.shape[2], device=x.device) + start) % PERIOD
        return x + self.table[:, at] * self.loudness(x).clamp(LOWEST, LOUDEST).exp()
