"""The watermark of Meta's DAC-VAE: a small causal network that hides 16 bits in a sound.

It goes down from the sound to 150 steps a second, adds an embedding of the message there, and comes back up; a
quarter of what it gives is added to the sound. In the published code its layers sit between those of the decoder, but
nothing of the decoder goes into it except the finished sound.

Letters: B batch, N samples.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.codecs.dac_config import WATERMARK_BITS, DacVAEConfig
from kinema.codecs.dac_layers import NormedConv1d

CHANNELS = 32  # at the sampling rate
HIDDEN = 512  # of the recurrent layers
CODE = 128  # where the message is added
RATES = (2, 4, 5, 8)  # going down
STRENGTH = CHANNELS / CODE


def _conv(channels: int, out: int, kernel: int, stride: int = 1, transposed: bool = False) -> NormedConv1d:
    return NormedConv1d(channels, out, kernel, stride, transposed=transposed, causal=True, normed=False)


class CausalUnit(nn.Module):
    """x + conv1(elu(conv3(elu(x)))), half as wide inside: (B, C, N) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ELU(), _conv(channels, channels // 2, 3), nn.ELU(), _conv(channels // 2, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> same."""
        return x + self.block(x)


class Recurrent(nn.Module):
    """Two LSTM layers beside a skip connection: (B, C, N) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> same."""
        steps = x.permute(2, 0, 1)
        return (self.lstm(steps)[0] + steps).permute(1, 2, 0)


class Watermark(nn.Module):
    """Sound (B, 1, N) and a message (B, 16) of zeros and ones -> what to add to the sound (B, 1, N).

    N is a multiple of 320.
    """

    def __init__(self, config: DacVAEConfig) -> None:
        super().__init__()
        if len(config.rates) != len(RATES):
            raise ValueError(f"the watermark has {len(RATES)} stages and this codec {len(config.rates)}")
        widths = [width // 3 for width in reversed(config.decoder_widths)]  # 32 ... 512, going down
        if widths[0] != CHANNELS or widths[-1] != HIDDEN:
            raise ValueError(
                f"decoder_widths={config.decoder_widths} do not fit the watermark's layers: they begin with"
                f" {3 * HIDDEN} and end with {3 * CHANNELS}"
            )
        stages = list(zip(widths[:-1], widths[1:], RATES))
        self.stem = _conv(1, CHANNELS, 7)
        self.down = nn.ModuleList(
            nn.Sequential(CausalUnit(a), nn.ELU(), _conv(a, b, 2 * rate, rate)) for a, b, rate in stages
        )
        self.down_recurrent = Recurrent(HIDDEN)
        self.to_code = _conv(HIDDEN, CODE, 7)
        self.message = nn.Embedding(2 * WATERMARK_BITS, CODE)
        self.from_code = _conv(CODE, HIDDEN, 7)
        self.up_recurrent = Recurrent(HIDDEN)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ELU(), _conv(b, a, 2 * rate, rate, transposed=True), CausalUnit(a))
            for a, b, rate in reversed(stages)
        )
        self.head = _conv(CHANNELS, 1, 7)

    def init_weights(self) -> None:
        """PyTorch's own start for the recurrent layers and the embedding; convolutions have their own."""
        for recurrent in (self.down_recurrent, self.up_recurrent):
            recurrent.lstm.reset_parameters()
        self.message.reset_parameters()

    def forward(self, sound: Tensor, message: Tensor) -> Tensor:
        """(B, 1, N), (B, 16) -> (B, 1, N)."""
        h = self.stem(sound)
        for stage in self.down:
            h = stage(h)  # (B, 512, N / 320) at last
        h = self.to_code(F.elu(self.down_recurrent(h)))  # (B, 128, N / 320)
        places = 2 * torch.arange(message.shape[-1], device=message.device) + message.long()
        h = h + self.message(places).sum(dim=-2)[..., None]
        h = self.up_recurrent(self.from_code(h))
        for stage in self.up:
            h = stage(h)
        return STRENGTH * self.head(F.elu(h))
