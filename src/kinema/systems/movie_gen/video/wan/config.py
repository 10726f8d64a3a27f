"""The settings of Wan 2.1's transformer and its published sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kinema.errors import UserError
from kinema.settings import known_settings, named_preset, plain_settings

Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class WanConfig:
    """Settings of the network.

    Attributes:
        hidden: inner width of the feed-forward network.
        text_dim: width of the text encoder's states (umT5-xxl: 4096).
        text_tokens: every text is padded with zeros to this length, and the padding is attended to.
    """

    dim: int
    depth: int
    num_heads: int
    hidden: int
    latent_channels: int = 16
    text_dim: int = 4096
    text_tokens: int = 512
    patch: Grid = (1, 2, 2)
    freq_dim: int = 256
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # JSON gives lists
        if self.dim % self.num_heads or self.dim // self.num_heads % 2 or self.dim // self.num_heads < 6:
            raise UserError(
                f"dim={self.dim} cannot be split into num_heads={self.num_heads} heads of an even width of 6 or more: "
                "change one of them"
            )

    @property
    def patch_dim(self) -> int:
        """Numbers in one patch: C * prod(patch)."""
        return self.latent_channels * math.prod(self.patch)

    def tokens(self, size: Iterable[int]) -> Grid:
        """Tokens along each axis for a latent of `size` = (T, H, W) cells."""
        cells = tuple(size)
        if any(n % step for n, step in zip(cells, self.patch, strict=True)):
            raise UserError(
                f"a latent of {cells} cannot be cut into patches of {self.patch}: use multiples of them"
            )
        time, height, width = (n // step for n, step in zip(cells, self.patch, strict=True))
        return time, height, width

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WanConfig:
        """Undoes `to_dict`; UserError for keys that do not exist or are missing."""
        return cls(**known_settings(cls, values))


PRESETS: dict[str, WanConfig] = {
    # `tiny` is ours, for tests; the others are the published text-to-video models.
    "tiny": WanConfig(
        dim=40, depth=2, num_heads=2, hidden=72, latent_channels=4, text_dim=24, text_tokens=16
    ),
    "1.3b": WanConfig(dim=1536, depth=30, num_heads=12, hidden=8960),
    "14b": WanConfig(dim=5120, depth=40, num_heads=40, hidden=13824),
}


def preset(name: str) -> WanConfig:
    """The named preset; UserError with the closest names if there is no such preset."""
    return named_preset(PRESETS, name, "Wan 2.1")
