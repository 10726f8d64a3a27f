"""Omnivore: one windowed transformer for images, clips and RGB-D, and a linear head for each kind (2201.08377).

An image is a clip of one frame. Colours and disparity have a patch embedding each, whose tokens are added; everything
behind them is shared, and only the last linear layer belongs to a data set.
"""

# B batch, T frames, H W rows and columns, E first width, D = 8E the width of features

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn.swin3d import PatchEmbed3d, Swin3d, init_swin
from kinema.settings import known_settings, named_preset, plain_settings

Kind = Literal["image", "video", "rgbd"]
HEAD_STD: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """A linear classifier of one kind of input. dropout: before it, while training."""

    kind: Kind
    classes: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("image", "video", "rgbd"):
            raise UserError(f"kind={self.kind!r} must be image, video or rgbd")
        if self.classes < 1:
            raise UserError(f"a head for {self.classes} classes cannot be: it needs at least 1")


RELEASED_HEADS: Final = (
    HeadConfig(kind="image", classes=1000),  # ImageNet-1k
    HeadConfig(kind="rgbd", classes=19),  # SUN RGB-D
    HeadConfig(kind="video", classes=400, dropout=0.5),  # Kinetics-400
)


@dataclass(frozen=True, kw_only=True)
class OmnivoreConfig:
    """Sizes of the network.

    dim: E, doubled at every stage after the first. window: tokens in time, rows and columns. patch: pixels likewise.
    depth_input: whether there is an embedding of disparity. drop_path: of the last block while training.
    """

    dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window: tuple[int, int, int] = (8, 7, 7)
    patch: tuple[int, int, int] = (2, 4, 4)
    drop_path: float = 0.0
    depth_input: bool = True
    heads: tuple[HeadConfig, ...] = RELEASED_HEADS

    def __post_init__(self) -> None:
        for name in ("depths", "num_heads", "window", "patch"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        heads = tuple(
            HeadConfig(**known_settings(HeadConfig, head)) if isinstance(head, Mapping) else head
            for head in self.heads
        )
        object.__setattr__(self, "heads", heads)
        if len(self.depths) != len(self.num_heads) or not self.depths:
            raise UserError(f"depths={self.depths} and num_heads={self.num_heads} must be of equal length")
        if len(self.window) != 3 or len(self.patch) != 3 or min(*self.window, *self.patch) < 1:
            raise UserError(f"window={self.window} and patch={self.patch} must be three sizes of at least 1")
        kinds = [head.kind for head in heads]
        if len(set(kinds)) < len(kinds):
            raise UserError(f"the heads are for {', '.join(kinds)}: each kind has at most one")
        if "rgbd" in kinds and not self.depth_input:
            raise UserError("a head for rgbd needs depth_input=True")

    @classmethod
    def preset(cls, name: str) -> OmnivoreConfig:
        """`nano`, or a published size: `swin_t`, `swin_s`, `swin_b`, `swin_l`, `swin_b_epic`."""
        return named_preset(PRESETS, name, "Omnivore")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OmnivoreConfig:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))


# Rates of stochastic depth are those of the released code; the paper's text has 0.1 for T and 0.2 for S.
PRESETS: Final = {
    "swin_t": OmnivoreConfig(dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), drop_path=0.2),
    "swin_s": OmnivoreConfig(dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), drop_path=0.3),
    "swin_b": OmnivoreConfig(
        dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window=(16, 7, 7), drop_path=0.3
    ),
    "swin_l": OmnivoreConfig(dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), drop_path=0.3),
    "swin_b_epic": OmnivoreConfig(
        dim=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        window=(16, 7, 7),
        drop_path=0.4,
        depth_input=False,
        heads=(HeadConfig(kind="video", classes=3806, dropout=0.5),),  # pairs of verb and noun
    ),
    "nano": OmnivoreConfig(  # for 64 pixels and 8 frames; its recipe gives it heads of its own
        dim=32, depths=(1, 1, 2), num_heads=(1, 2, 4), window=(4, 4, 4)
    ),
}


class Omnivore(nn.Module):
    """Normalised pixels to logits, by the head of the kind that is named.

    Images are (B, 3, H, W) or (B, 3, 1, H, W), RGB-D has disparity as a fourth channel, clips are (B, 3, T, H, W).
    See `kinema.systems.omnivore.preprocessing` for what has to happen to pixels first.
    """

    def __init__(self, config: OmnivoreConfig) -> None:
        super().__init__()
        self.config = config
        self.rgb = PatchEmbed3d(3, config.dim, config.patch)
        self.depth = PatchEmbed3d(1, config.dim, config.patch) if config.depth_input else None
        self.trunk = Swin3d(
            config.dim, config.depths, config.num_heads, config.window, drop_path=config.drop_path
        )
        self.heads = nn.ModuleDict(
            {
                head.kind: nn.Sequential(nn.Dropout(head.dropout), nn.Linear(self.trunk.dim, head.classes))
                for head in config.heads
            }
        )
        if not self.trunk.norm.weight.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """See `init_swin`; heads N(0, 0.01^2) with biases of zero."""
        init_swin(self)
        for layer in self.heads.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=HEAD_STD)

    def tokens(self, x: Tensor) -> Tensor:
        """The sum of the embeddings of colours and disparity: (B, T', H', W', E).

        Without a fourth channel the path of disparity does not run. Raises ValueError for other channels.
        """
        x = x[:, :, None] if x.ndim == 4 else x
        channels = x.shape[1] if x.ndim == 5 else 0
        if channels not in (3, 4) or 0 in x.shape:
            raise ValueError(f"pixels have the shape {tuple(x.shape)}: expected (B, 3 or 4, T, H, W)")
        if channels == 3:
            return self.rgb(x)
        if self.depth is None:
            raise ValueError("this network has no embedding of disparity: leave out the fourth channel")
        return self.rgb(x[:, :3]) + self.depth(x[:, 3:])

    def dense(self, x: Tensor) -> Tensor:
        """Normalised features of every place: (B, D, T', H/32, W/32) with patches of 4; time is that of patches."""
        return self.trunk(self.tokens(x)).movedim(-1, 1)

    def features(self, x: Tensor) -> Tensor:
        """Their mean over time, rows and columns: (B, D)."""
        return self.trunk(self.tokens(x)).mean((1, 2, 3))

    def stage_outputs(self, x: Tensor) -> list[Tensor]:
        """What each stage gives, not normalised: (B, C, T', H', W'), behind the merging for all but the last."""
        return [stage.movedim(-1, 1) for stage in self.trunk.stage_outputs(self.tokens(x))]

    def classify(self, features: Tensor, kind: Kind) -> Tensor:
        """Features (B, D) to logits (B, classes). Raises UserError where there is no head of this kind."""
        if kind not in self.heads:
            raise UserError(
                f"this network has no head for {kind}: it has {', '.join(self.heads) or 'none at all'}"
            )
        return self.heads[kind](features)

    def forward(self, x: Tensor, kind: Kind) -> Tensor:
        return self.classify(self.features(x), kind)


@torch.no_grad()
def inflate(state: Mapping[str, Tensor], config: OmnivoreConfig) -> dict[str, Tensor]:
    """Start a trunk of windows in time from one of images: `rgb.*` and `trunk.*`, one frame to patch and window.

    The kernel of the embedding is repeated over the patch's frames and divided by their number, so that a scene that
    stands still keeps its tokens; offsets are repeated over the distances in time.
    """
    out = {}
    for name, value in state.items():
        if name == "rgb.proj.weight":
            value = value[:, :, :1].expand(-1, -1, config.patch[0], -1, -1) / config.patch[0]
        elif name.endswith("attention.offsets"):
            value = value.repeat(2 * config.window[0] - 1, 1)
        out[name] = value.clone()
    return out
