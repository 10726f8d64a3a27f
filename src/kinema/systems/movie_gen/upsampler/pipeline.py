"""What a user calls: a clip in, a larger clip out (2410.13720, section on the spatial upsampler).

Any target size, not less than the clip's own. Long clips and large pictures are solved in windows that agree with each
other while the sample forms (MultiDiffusion), and frames are encoded and decoded a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError
from kinema.flow.schedules import linear
from kinema.flow.solvers import euler
from kinema.media import Video, to_tensor, to_uint8
from kinema.systems.movie_gen.upsampler.parts import UpsamplerParts, load_parts
from kinema.systems.movie_gen.upsampler.recipe import enlarged
from kinema.train.precision import Precision, PrecisionName

STEPS = 2  # best of 1, 2, 4 and 8 for nano by SSIM; the paper's 7B takes 20
MAX_SIDE = 1024  # rows and columns of the result
MAX_PIXELS = 1 << 26  # of all its frames together: 256 frames of 512x512
FRAMES_AT_ONCE = 8  # that are encoded or decoded together


class MovieGenUpsampler:
    """Clips to larger clips with one set of weights. `upsample` keeps no state between calls."""

    def __init__(self, parts: UpsamplerParts, device: str = "cpu", precision: PrecisionName = "auto") -> None:
        self.parts = parts.to(device).freeze()
        self.device = torch.device(device)
        self.precision = Precision.choose(precision, device)

    def upsample(
        self,
        video: Video,
        *,
        height: int | None = None,
        width: int | None = None,
        seed: int = 0,
        steps: int | None = None,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Video:
        """Make a clip larger; rate, sound and metadata stay.

        Args:
            height, width: of the result; twice the clip's if neither is given, and in the clip's proportion if one is.
            seed: of the noise, drawn on the CPU.
            steps: Euler steps.
            on_step: called with the steps done and the sample.

        Raises:
            UserError: a size, a seed or a number of steps that cannot be taken.
        """
        rows, columns = target_size(video.frames.shape, height, width)
        count = STEPS if steps is None else steps
        if not hasattr(count, "__index__") or not 1 <= count <= 1000:
            raise UserError(f"steps is {count!r} and must be a whole number from 1 to 1000")
        if not hasattr(seed, "__index__") or not 0 <= seed < 2**63:
            raise UserError(f"seed is {seed!r} and must be a whole number from 0 to 2**63 - 1")
        frames = self.enlarge(video.frames, rows, columns, seed, count, on_step)
        return replace(video, frames=frames)

    @torch.inference_mode()
    def enlarge(
        self,
        frames: np.ndarray,
        height: int,
        width: int,
        seed: int,
        steps: int,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> np.ndarray:
        """uint8 (T, h, w, 3) -> uint8 (T, height, width, 3)."""
        model, codec = self.parts.upsampler, self.parts.codec
        pieces = [frames[i : i + FRAMES_AT_ONCE] for i in range(0, len(frames), FRAMES_AT_ONCE)]
        condition = torch.cat([codec.encode(self._enlarged(piece, height, width)) for piece in pieces], dim=2)
        noise = torch.randn(condition.shape, generator=torch.Generator().manual_seed(int(seed)))

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            with self.precision.autocast():
                return model.whole(x, t, condition)

        sample = euler(velocity, noise.to(self.device), linear(steps), on_step)
        latent = model.latent_of(sample, condition)
        made = []
        for piece, cells in zip(pieces, latent.split(FRAMES_AT_ONCE, dim=2), strict=True):
            pixels = self.parts.finish(codec.decode(cells), self._enlarged(piece, height, width))
            made.append(to_uint8(pixels[0, :, :, :height, :width].clamp(-1, 1).cpu()))
        return np.concatenate(made)

    def _enlarged(self, frames: np.ndarray, height: int, width: int) -> Tensor:
        """A few frames, enlarged bilinearly: (1, 3, T, H, W); borders are repeated up to whole cells."""
        larger = enlarged(to_tensor(frames).unsqueeze(0).to(self.device), height, width)
        patch, strides = self.parts.upsampler.config.transformer.patch, self.parts.codec.spec.strides
        below, right = (
            -size % (s * p) for size, s, p in zip((height, width), strides[1:], patch[1:], strict=True)
        )
        if below or right:
            larger = F.pad(larger, (0, right, 0, below, 0, 0), mode="replicate")
        return larger


def target_size(shape: tuple[int, ...], height: int | None, width: int | None) -> tuple[int, int]:
    """Rows and columns of the result for frames (T, h, w, 3); UserError where they cannot be."""
    count, rows, columns = shape[:3]
    for name, size in (("height", height), ("width", width)):
        if size is not None and not hasattr(size, "__index__"):
            raise UserError(f"{name} is {size!r} and must be a whole number")
    if height is None and width is None:
        height, width = 2 * rows, 2 * columns
    elif height is None:
        assert width is not None
        height = round(rows * width / columns)
    elif width is None:
        width = round(columns * height / rows)
    if height < rows or width < columns:
        raise UserError(
            f"the clip has {rows}x{columns} pixels (height x width) and {height}x{width} were asked for: the "
            "upsampler only makes clips larger"
        )
    if max(height, width) > MAX_SIDE or count * height * width > MAX_PIXELS:
        raise UserError(
            f"the result would have {count} frames of {height}x{width} (height x width), and at most {MAX_SIDE} rows "
            f"and columns and {MAX_PIXELS:,} pixels over all frames are made: cut the clip, or ask for less"
        )
    return height, width


def load(weights_path: Path, device: str = "cpu", precision: PrecisionName = "auto") -> MovieGenUpsampler:
    """A ready pipeline from a weight file."""
    return MovieGenUpsampler(load_parts(weights_path), device, precision)
