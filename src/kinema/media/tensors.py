"""Frames to tensors and back. torch is imported when one of these is called, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError

if TYPE_CHECKING:
    import torch


def to_tensor(frames: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Frames uint8 (T, H, W, 3) to a float32 tensor (3, T, H, W) in [-1, 1]."""
    import torch

    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise UserError(
            f"frames have shape {frames.shape} and type {frames.dtype}: expected uint8 (T, H, W, 3)"
        )
    whole = torch.from_numpy(np.ascontiguousarray(frames).copy())
    return whole.permute(3, 0, 1, 2).to(torch.float32).div_(127.5).sub_(1.0).contiguous()


def to_uint8(video: torch.Tensor) -> npt.NDArray[np.uint8]:
    """A tensor (3, T, H, W) in [-1, 1] to frames uint8 (T, H, W, 3), rounded; values outside are clipped.

    Raises UserError when a value is not finite: such a clip must not be saved as if it were black.
    """
    import torch

    if video.ndim != 4 or video.shape[0] != 3:
        raise UserError(f"the video tensor has shape {tuple(video.shape)}: expected (3, T, H, W)")
    pixels = video.detach().to(dtype=torch.float32, device="cpu")
    if not bool(torch.isfinite(pixels).all()):
        raise UserError(
            "the video tensor has values that are not finite: the model or its decoder broke down"
        )
    scaled = pixels.clamp(-1.0, 1.0).add(1.0).mul_(127.5).round_().to(torch.uint8)
    frames: Any = scaled.permute(1, 2, 3, 0).contiguous().numpy()
    return frames
