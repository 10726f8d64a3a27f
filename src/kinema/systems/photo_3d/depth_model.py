"""Tiefenrausch: a U-Net of inverted residual blocks that reads the log disparity of a photo (2008.12298, section 3).

Three families of stages at levels 0 (full size) to 5 (1/32): `encoder` halves, `skip` sits on every connection across,
`decoder` doubles; what meets at a level is added. Widths, expansions and joins are those of the released network.
"""

# B batch, C channels, H W rows and columns (multiples of 32), level l: H / 2^l

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn.mobile import Add, ConvNorm, InvertedResidual, folded, hidden_width, init_mobile
from kinema.settings import known_settings, named_preset, plain_settings

LEVELS: Final = 5
MULTIPLE: Final = 2**LEVELS  # rows and columns come in multiples of it


@dataclass(frozen=True, kw_only=True)
class TiefenrauschConfig:
    """Widths of the network. A decoder stage has the width of the skip stage that it is added to.

    first: channels at full size. encoder: of levels 1 to 5. skip: of levels 0 to 5, the last of them the bottleneck.
    expansion: of levels 0 to 5, over the input of every block. repeats: blocks in a stage.
    norm: `batch` for training, `bias` for what folding the norms leaves.
    """

    first: int = 48
    encoder: tuple[int, ...] = (40, 56, 80, 64, 96)
    skip: tuple[int, ...] = (32, 8, 56, 96, 96, 96)
    expansion: tuple[int, ...] = (1, 1, 4, 5, 9, 9)
    repeats: int = 3
    norm: Literal["batch", "bias"] = "batch"

    def __post_init__(self) -> None:
        for name, length in (("encoder", LEVELS), ("skip", LEVELS + 1), ("expansion", LEVELS + 1)):
            values = tuple(getattr(self, name))  # JSON gives lists
            object.__setattr__(self, name, values)
            if len(values) != length or not all(type(value) is int and value > 0 for value in values):
                raise UserError(f"{name}={values} must be {length} whole numbers above 0")
        if self.norm not in ("batch", "bias"):
            raise UserError(f"norm={self.norm!r} must be batch or bias")

    @classmethod
    def preset(cls, name: str) -> TiefenrauschConfig:
        """`tiefenrausch`, the released size, or `nano`, a fifth of its weights."""
        return named_preset(PRESETS, name, "the depth network")

    def scaled(self, width: float, divisor: int = 8) -> TiefenrauschConfig:
        """All widths times `width`, to the nearest multiple of `divisor`, at least one of it."""
        return dataclasses.replace(
            self,
            first=hidden_width(self.first, width, divisor),
            encoder=tuple(hidden_width(channels, width, divisor) for channels in self.encoder),
            skip=tuple(hidden_width(channels, width, divisor) for channels in self.skip),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TiefenrauschConfig:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))


PRESETS: Final = {
    "tiefenrausch": TiefenrauschConfig(),
    "nano": TiefenrauschConfig(first=16, encoder=(16, 24, 32, 32, 40), skip=(16, 8, 24, 40, 40, 40)),
}


class Tiefenrausch(nn.Module):
    """RGB in [0, 1], without any other normalisation, to log disparity: (B, 3, H, W) -> (B, 1, H, W).

    Near is large. Disparity is `exp` of it, and known up to a factor only. H and W must be multiples of 32; the
    released weights were trained with the longer side at 384.
    """

    def __init__(self, config: TiefenrauschConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TiefenrauschConfig()
        self.input_quantiser: nn.Module | None = None
        self.first = ConvNorm(3, config.first, 3, norm=config.norm, activation=nn.ReLU)
        encoder, skip = {0: config.first, **dict(enumerate(config.encoder, 1))}, config.skip
        self.encoder = nn.ModuleDict(
            {str(n): self._stage(n, encoder[n - 1], encoder[n], stride=2) for n in range(1, LEVELS + 1)}
        )
        self.skip = nn.ModuleDict(
            {str(n): self._stage(n, encoder[n], skip[n]) for n in range(LEVELS + 1)}
        )  # level 5 is the bottleneck
        self.decoder = nn.ModuleDict(
            {str(n): self._stage(n, skip[n], skip[n - 1], upsample=2) for n in range(1, LEVELS + 1)}
        )
        self.joins = nn.ModuleDict({str(n): Add() for n in range(LEVELS)})
        self.last = ConvNorm(skip[0], 1, 3, norm="none")
        if not self.last.conv.weight.is_meta:
            self.init_weights()

    def _stage(
        self, level: int, before: int, width: int, stride: int = 1, upsample: int = 1
    ) -> nn.Sequential:
        """Blocks of one level: the first changes size and channels, the others are residual."""
        blocks = [
            InvertedResidual(
                width if number else before,
                width,
                expansion=self.config.expansion[level],
                stride=1 if number else stride,
                upsample=1 if number else upsample,
                depthwise="bare",
                always_pw=True,
                norm=self.config.norm,
            )
            for number in range(self.config.repeats)
        ]
        return nn.Sequential(*blocks)

    def init_weights(self) -> None:
        """For training from nothing: see `init_mobile`; the last layer small, so that all begins at disparity 1."""
        init_mobile(self)
        nn.init.normal_(self.last.conv.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % MULTIPLE or x.shape[3] % MULTIPLE:
            raise ValueError(f"{x.shape[2]} x {x.shape[3]} pixels: both must be multiples of {MULTIPLE}")
        if self.input_quantiser is not None:
            x = self.input_quantiser(x)
        features = [self.first(x)]  # level 0
        for level in range(1, LEVELS + 1):
            features.append(self.encoder[str(level)](features[-1]))
        y = self.skip[str(LEVELS)](features[LEVELS])  # the bottleneck
        for level in range(LEVELS, 0, -1):
            across = self.skip[str(level - 1)](features[level - 1])
            y = self.joins[str(level - 1)](self.decoder[str(level)](y), across)
        return self.last(y)

    @torch.no_grad()
    def disparity(self, x: Tensor) -> Tensor:
        """`exp` of the log disparity: (B, 3, H, W) -> (B, 1, H, W), near is large, scale unknown."""
        return self(x).float().exp()


def fold_norms(network: Tiefenrausch) -> Tiefenrausch:
    """A copy for inference: the batch norms become biases of the convolutions before them."""
    network = folded(network)
    network.config = dataclasses.replace(network.config, norm="bias")
    return network.eval()
