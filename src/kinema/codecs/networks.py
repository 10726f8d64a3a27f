"""The encoder and the decoder that the image and the video autoencoder share.

Letters: B batch, T pixel frames, t latent frames, H W rows and columns, C latent channels, p patch, s stride.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from kinema.codecs.blocks import (
    NORM_EPS,
    Conv,
    Downsample,
    MidBlock,
    ResnetBlock,
    ShuffleDownsample,
    ShuffleUpsample,
    TemporalConv,
    TemporalUpsample,
    Upsample,
    depth_to_space,
    space_to_depth,
)
from kinema.codecs.config import ImageVAEConfig, TAEConfig
from kinema.codecs.latents import ceil_div


class DownBlock(nn.Module):
    """One level of the encoder: residual blocks, half of the rows and columns, then half of the frames."""

    def __init__(
        self, resnets: list[ResnetBlock], down: nn.Module | None, temporal_down: TemporalConv | None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.downsamplers = nn.ModuleList([down]) if down is not None else None
        self.temporal_downsampler = temporal_down

    def forward(self, x: Tensor, frames: int) -> tuple[Tensor, int]:
        """(B*T, C_in, H, W) -> (B*T', C_out, H', W') and T'."""
        for resnet in self.resnets:
            x = resnet(x, frames)
        if self.downsamplers is not None:
            x = self.downsamplers[0](x, frames)
        if self.temporal_downsampler is not None:
            x, frames = self.temporal_downsampler(x, frames), ceil_div(frames, 2)
        return x, frames


class UpBlock(nn.Module):
    """One level of the decoder: residual blocks, twice the rows and columns, then twice the frames."""

    def __init__(
        self, resnets: list[ResnetBlock], up: nn.Module | None, temporal_up: TemporalUpsample | None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.upsamplers = nn.ModuleList([up]) if up is not None else None
        self.temporal_upsampler = temporal_up

    def forward(self, x: Tensor, frames: int) -> tuple[Tensor, int]:
        """(B*T, C_in, H, W) -> (B*T', C_out, H', W') and T'."""
        for resnet in self.resnets:
            x = resnet(x, frames)
        if self.upsamplers is not None:
            x = self.upsamplers[0](x, frames)
        if self.temporal_upsampler is not None:
            x, frames = self.temporal_upsampler(x, frames), 2 * frames
        return x, frames


def resnet_chain(
    width: int, out: int, count: int, groups: int, temporal: bool
) -> tuple[list[ResnetBlock], int]:
    """`count` residual blocks from `width` to `out` channels, and the width after them."""
    blocks = []
    for _ in range(count):
        blocks.append(ResnetBlock(width, out, groups, temporal))
        width = out
    return blocks, width


class Encoder(nn.Module):
    """Folded frames (B*T, 3, H, W) -> mean and log-variance of the latent (B*t, 2C, H/s, W/s)."""

    def __init__(self, config: ImageVAEConfig, time: TAEConfig | None = None) -> None:
        super().__init__()
        strides, temporal = _time(config, time)
        widths, groups, last = config.widths, config.norm_groups, config.levels - 1
        shuffle = config.resample == "shuffle"
        self.patch = config.patch
        self.conv_in = Conv(3 * config.patch**2, widths[0], config.stem_kernel, temporal=temporal[0])
        width = widths[0]
        self.down_blocks = nn.ModuleList()
        for i in range(config.levels):
            resnets, width = resnet_chain(width, widths[i], config.encoder_blocks[i], groups, temporal[i])
            down: nn.Module | None = None
            if i < last:
                out = widths[i + 1] if shuffle else width
                down = (ShuffleDownsample if shuffle else Downsample)(width, out, temporal[i])
                width = out
            temporal_down = TemporalConv(width, stride=2) if i < last and strides[i] == 2 else None
            self.down_blocks.append(DownBlock(resnets, down, temporal_down))
        self.mid_block = MidBlock(width, groups, config.attention, temporal[-1])
        self.conv_norm_out = nn.GroupNorm(groups, width, eps=NORM_EPS)
        self.conv_out = Conv(width, 2 * config.latent_channels, temporal=temporal[-1])

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """(B*T, 3, H, W) -> (B*t, 2C, H/s, W/s)."""
        x = self.conv_in(space_to_depth(x, self.patch), frames)
        for block in self.down_blocks:
            x, frames = block(x, frames)
        x = self.mid_block(x, frames)
        return self.conv_out(F.silu(self.conv_norm_out(x)), frames)


class Decoder(nn.Module):
    """Folded latent (B*t, C, H/s, W/s) -> frames (B*T, 3, H, W), T = t * stride."""

    def __init__(self, config: ImageVAEConfig, time: TAEConfig | None = None) -> None:
        super().__init__()
        strides, temporal = _time(config, time)
        widths, groups = config.widths, config.norm_groups
        shuffle = config.resample == "shuffle"
        self.patch = config.patch
        width = widths[-1]
        self.conv_in = Conv(config.latent_channels, width, temporal=temporal[-1])
        self.mid_block = MidBlock(width, groups, config.attention, temporal[-1])
        self.up_blocks = nn.ModuleList()
        for i in reversed(range(config.levels)):
            count = config.decoder_blocks[i]
            resnets, width = resnet_chain(width, widths[i], count, groups, temporal[i])
            up: nn.Module | None = None
            if i > 0:
                out = widths[i - 1] if shuffle else width
                up = (ShuffleUpsample if shuffle else Upsample)(width, out, temporal[i])
                width = out
            temporal_up = TemporalUpsample(width) if i > 0 and strides[i - 1] == 2 else None
            self.up_blocks.append(UpBlock(resnets, up, temporal_up))
        self.conv_norm_out = nn.GroupNorm(groups, width, eps=NORM_EPS)
        self.conv_out = Conv(width, 3 * config.patch**2, temporal=temporal[0])

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """(B*t, C, H/s, W/s) -> (B*T, 3, H, W)."""
        x = self.mid_block(self.conv_in(x, frames), frames)
        for block in self.up_blocks:
            x, frames = block(x, frames)
        x = self.conv_out(F.silu(self.conv_norm_out(x)), frames)
        return depth_to_space(x, self.patch)


def _time(config: ImageVAEConfig, time: TAEConfig | None) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    if time is None:
        return (1,) * (config.levels - 1), (False,) * config.levels
    return time.temporal_strides, time.temporal
