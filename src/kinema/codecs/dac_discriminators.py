"""Discriminators of sound, after the Descript Audio Codec: by periods of the wave, and by bands of the spectrum.

Letters: B batch, N samples, C channels, F frames, K frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1  # of the leaky rectifier


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Which discriminators, and how wide. The defaults are the published ones, 42 million parameters."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_widths: tuple[int, ...] = (32, 128, 512, 1024, 1024)  # all but the last take every third place
    windows: tuple[int, ...] = (2048, 1024, 512)
    band_width: int = 32  # channels
    bands: tuple[tuple[float, float], ...] = (
        (0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.periods and not self.windows:
            raise ValueError("there is no discriminator: name periods, windows or both")


SMALL = DiscriminatorConfig(
    periods=(2, 5, 11), period_widths=(8, 24, 48, 64), windows=(2048, 512), band_width=8,
    bands=((0.0, 0.1), (0.1, 0.25), (0.25, 0.5)),
)  # fmt: skip


class NormedConv2d(nn.Conv2d):
    """A convolution with a weight norm for each output channel; names as in published checkpoints."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
    ) -> None:
        padding = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
        super().__init__(channels, out_channels, kernel, stride, padding)
        value = self.weight.detach()
        del self.weight
        self.weight_g = nn.Parameter(value.flatten(1).norm(dim=1)[:, None, None, None])
        self.weight_v = nn.Parameter(value.clone())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, height, width) -> (B, out, height', width')."""
        weight = torch._weight_norm(self.weight_v, self.weight_g, 0)
        return self._conv_forward(x, weight, self.bias)


def _run(layers: nn.ModuleList, x: Tensor, maps: list[Tensor]) -> Tensor:
    """Through layers with a leaky rectifier after each, keeping what each gives."""
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        maps.append(x)
    return x


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample together: sound (B, 1, N) -> outputs of its layers, scores last."""

    def __init__(self, period: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        strides = [3] * (len(widths) - 1) + [1]
        pairs = zip((1, *widths), widths, strides)
        self.convs = nn.ModuleList(NormedConv2d(a, b, (5, 1), (stride, 1)) for a, b, stride in pairs)
        self.conv_post = NormedConv2d(widths[-1], 1, (3, 1))

    def forward(self, sound: Tensor) -> list[Tensor]:
        """(B, 1, N) -> maps (B, C, rows, period)."""
        sound = F.pad(sound, (0, self.period - sound.shape[-1] % self.period), mode="reflect")
        maps: list[Tensor] = []
        x = _run(self.convs, sound.unflatten(-1, (-1, self.period)), maps)
        return [*maps, self.conv_post(x)]


class BandDiscriminator(nn.Module):
    """Looks at bands of the complex spectrum: sound (B, 1, N) -> outputs of its layers, scores last."""

    window: Tensor

    def __init__(self, size: int, width: int, bands: tuple[tuple[float, float], ...]) -> None:
        super().__init__()
        self.size = size
        count = size // 2 + 1
        self.bands = [(int(low * count), int(high * count)) for low, high in bands]
        self.band_convs = nn.ModuleList(
            nn.ModuleList(
                [
                    NormedConv2d(2, width, (3, 9)),
                    *(NormedConv2d(width, width, (3, 9), (1, 2)) for _ in range(3)),
                    NormedConv2d(width, width, (3, 3)),
                ]
            )
            for _ in bands
        )
        self.conv_post = NormedConv2d(width, 1, (3, 3))
        self.register_buffer("window", torch.hann_window(size), persistent=False)

    def spectrum(self, sound: Tensor) -> Tensor:
        """(B, 1, N) -> real and imaginary part (B, 2, F, K), F = ceil(N / hop), hop a quarter of the window."""
        hop = self.size // 4
        side, missing = (self.size - hop) // 2, -sound.shape[-1] % hop
        padded = F.pad(sound, (side, side + missing), mode="reflect")[:, 0]
        found = torch.stft(padded, self.size, hop, window=self.window.to(sound.dtype), return_complex=True)
        return torch.view_as_real(found[..., 2:-2]).permute(0, 3, 2, 1)

    def forward(self, sound: Tensor) -> list[Tensor]:
        """(B, 1, N) -> maps (B, C, F, K')."""
        spectrum, maps = self.spectrum(sound.float()), list[Tensor]()
        seen = [
            _run(convs, spectrum[..., low:high], maps)  # type: ignore[arg-type]
            for (low, high), convs in zip(self.bands, self.band_convs)
        ]
        return [*maps, self.conv_post(torch.cat(seen, dim=-1))]


class SoundDiscriminators(nn.Module):
    """All of them, on sound without its offset and at one loudness."""

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        self.discriminators = nn.ModuleList(
            [
                *(PeriodDiscriminator(period, config.period_widths) for period in config.periods),
                *(BandDiscriminator(size, config.band_width, config.bands) for size in config.windows),
            ]
        )

    def forward(self, sound: Tensor) -> list[list[Tensor]]:
        """Sound (B, 1, N) -> of each discriminator its layers' outputs, the scores last."""
        sound = sound - sound.mean(dim=-1, keepdim=True)
        sound = 0.8 * sound / (sound.abs().amax(dim=-1, keepdim=True) + 1e-9)
        return [discriminator(sound) for discriminator in self.discriminators]
