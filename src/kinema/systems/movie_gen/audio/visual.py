"""What the model sees of a video: one vector for each frame, brought to the latent's 25 frames a second by time.

The paper takes a frozen CLIP image tower (1024 numbers a frame). Nano has a small network of its own, which also sees
how the frame differs from its neighbours; both stand behind `FrameEncoder`.
"""

# T video frames, H W rows and columns, F feature width, N latent frames

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import UserError

REACH = 0.15  # seconds to either side within which the frame encoder tells the time of an impact
FRAMES_AT_ONCE = 64  # so that memory does not grow with the video


class FrameEncoder(Protocol):
    """Frames in, one vector for each out."""

    dim: int

    def encode(self, frames: Tensor, fps: float) -> Tensor:
        """uint8 (T, H, W, 3) at `fps` a second -> (T, F)."""
        ...


def shown_frames(num_frames: int, fps: float, length: int, rate: float = 25.0) -> tuple[Tensor, Tensor]:
    """Which video frame is shown at each latent frame's time i / rate: numbers (N,), and whether there is one (N,).

    Frame k is shown from k / fps to (k + 1) / fps; a time on the border belongs to the later one.
    """
    times = torch.arange(length, dtype=torch.float64) / rate
    numbers = (times * fps + 1e-6).floor().long()
    return numbers.clamp(max=num_frames - 1), numbers < num_frames


def on_grid(
    features: Tensor, fps: float, length: int, rate: float = 25.0, age: bool = False
) -> tuple[Tensor, Tensor]:
    """Features (T, F) of a video resampled to `length` latent frames: (N, F), zero where no frame is, and (N,) bool.

    age: one number more, for how many latent frames the frame has been shown, less a half. It tells two latent frames
    of one video frame apart, and so where in it an impact lies.
    """
    numbers, seen = shown_frames(len(features), fps, length, rate)
    device = features.device
    grid = features[numbers.to(device)]
    if age:
        shown = torch.arange(length, dtype=torch.float64) - numbers * (rate / fps)
        grid = torch.cat([grid, (shown - 0.5).to(grid)[:, None]], dim=1)
    seen = seen.to(device)
    return grid * seen[:, None], seen


@dataclass(frozen=True, kw_only=True)
class FrameNetConfig:
    """Settings of nano's frame encoder: rows and columns that it sees, widths of its convolutions, features.

    heads: name -> numbers that are read from a frame's features, for choosing among sounds.
    """

    size: int = 64
    widths: tuple[int, ...] = (24, 48, 80, 96)
    squeezed: int = 48
    dim: int = 128
    heads: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON gives lists
        if self.size % 2 ** len(self.widths):
            raise UserError(f"a size of {self.size} cannot be halved {len(self.widths)} times: take another")

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "widths": list(self.widths), "heads": dict(self.heads)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FrameNetConfig:
        return cls(**values)


class FrameNet(nn.Module):
    """A small convolutional network over a frame, what changed since the one before, and what will until the next."""

    def __init__(self, config: FrameNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FrameNetConfig()
        self.dim = config.dim
        layers: list[nn.Module] = []
        before = 10  # picture, two differences, the rate
        for width in config.widths:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.GELU()]
            before = width
        self.trunk = nn.Sequential(*layers, nn.Conv2d(before, config.squeezed, 1))
        cells = (config.size // 2 ** len(config.widths)) ** 2
        self.out = nn.Linear(config.squeezed * cells, config.dim)
        self.heads = nn.ModuleDict({name: nn.Linear(config.dim, size) for name, size in config.heads.items()})

    def forward(self, frames: Tensor, fps: Tensor) -> Tensor:
        """Frames (B, T, 3, size, size) in [-1, 1] and rates (B,) -> (B, T, F) of mean 0 and variance 1."""
        change = frames[:, 1:] - frames[:, :-1]
        none = torch.zeros_like(frames[:, :1])
        rate = (fps / 16).log2().to(frames.dtype).view(-1, 1, 1, 1, 1).expand_as(frames[:, :, :1])
        seen = torch.cat([frames, torch.cat([none, change], 1), torch.cat([change, none], 1), rate], dim=2)
        features = self.out(self.trunk(seen.flatten(0, 1)).flatten(1))
        return F.layer_norm(features, (self.dim,)).unflatten(0, frames.shape[:2])

    def told(self, features: Tensor) -> dict[str, Tensor]:
        """What the heads read from features (..., F): (..., size) each."""
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def encode(self, frames: Tensor, fps: float) -> Tensor:
        """uint8 (T, H, W, 3) -> (T, F); each piece sees a frame of its neighbours, so the cuts do not show."""
        device = self.out.weight.device
        rate, found = torch.tensor([fps], device=device), []
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            first, last = max(start - 1, 0), min(start + FRAMES_AT_ONCE + 1, len(frames))
            piece = prepared(frames[first:last], self.config.size).to(device)
            made = self(piece[None], rate)[0]
            found.append(made[start - first :][:FRAMES_AT_ONCE])
        return torch.cat(found)


class ImageTower:
    """Any image embedding as a FrameEncoder, such as an official CLIP tower of 1024 numbers at 224 x 224.

    Args:
        tower: pictures (B, 3, size, size), normalised -> (B, dim).
        mean, std: of the pictures that it was trained on; CLIP's by default.
    """

    def __init__(
        self,
        tower: Callable[[Tensor], Tensor],
        dim: int = 1024,
        size: int = 224,
        mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073),
        std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711),
        device: torch.device | str = "cpu",
    ) -> None:
        self.tower, self.dim, self.size, self.device = tower, dim, size, device
        self.mean, self.std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)

    @torch.no_grad()
    def encode(self, frames: Tensor, fps: float) -> Tensor:
        """uint8 (T, H, W, 3) -> (T, dim); a frame's vector depends on nothing but the frame."""
        found = []
        for piece in frames.split(FRAMES_AT_ONCE):
            pictures = (prepared(piece, self.size) + 1) / 2
            found.append(self.tower(((pictures - self.mean) / self.std).to(self.device)))
        return torch.cat(found)


def prepared(frames: Tensor, size: int) -> Tensor:
    """uint8 (T, H, W, 3) -> (T, 3, size, size) in [-1, 1], smoothed before it is made smaller."""
    pixels = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    if pixels.shape[2:] == (size, size):
        return pixels
    resized = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(-1.0, 1.0)


def latent_length(seconds: float, rate: float = 25.0) -> int:
    """Latent frames that cover so many seconds."""
    return math.ceil(seconds * rate - 1e-6)
