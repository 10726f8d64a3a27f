"""Losses and measures of monocular depth: what is left when an unknown factor, or factor and shift, is taken out.

`valid` is bool and marks the pixels that have a truth; every image weighs the same.
"""

# B images, H W rows and columns; maps are (B, 1, H, W)

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

SCALES: Final = 4  # of the gradient loss: every pixel, every second, fourth, eighth
TRIMMED: Final = 0.2  # of a picture's errors, the largest, that the robust loss leaves out


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean over the valid pixels of each image: (B, 1, H, W) -> (B,); 0 where there are none."""
    weight = valid.to(values.dtype)
    return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1.0)


def scale_invariant(log_predicted: Tensor, log_true: Tensor, valid: Tensor) -> Tensor:
    """Variance over the picture of R = log predicted - log true (1406.2283, equation 1, whole): scalar.

    It does not change when the prediction is multiplied by a factor, and is 0 where a factor is all that differs.
    """
    error = torch.where(valid, log_predicted - log_true, 0.0)
    return (_mean(error.square(), valid) - _mean(error, valid).square()).mean()


def multi_scale_gradient(difference: Tensor, valid: Tensor, scales: int = SCALES) -> Tensor:
    """|dx R| + |dy R| of a difference R, at every pixel, every second, fourth, ... (1804.00607, equation 3): scalar.

    At each scale the mean over neighbours that are both valid; the scales are added.
    """
    difference = torch.where(valid, difference, 0.0)
    total = difference.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        coarse, there = difference[..., ::step, ::step], valid[..., ::step, ::step]
        across = (coarse[..., :, 1:] - coarse[..., :, :-1]).abs()
        down = (coarse[..., 1:, :] - coarse[..., :-1, :]).abs()
        total = total + _mean(across, there[..., :, 1:] & there[..., :, :-1]).mean()
        total = total + _mean(down, there[..., 1:, :] & there[..., :-1, :]).mean()
    return total


def log_disparity_loss(
    log_predicted: Tensor, disparity: Tensor, valid: Tensor, gradient: float = 0.5
) -> tuple[Tensor, dict[str, Tensor]]:
    """The network's loss: scale-invariant data plus `gradient` times the multi-scale gradient, on log disparity.

    disparity: true, above 0 where valid.
    """
    log_true = torch.where(valid, disparity, 1.0).log()
    data = scale_invariant(log_predicted, log_true, valid)
    edges = multi_scale_gradient(log_predicted - log_true, valid)
    return data + gradient * edges, {"data": data.detach(), "gradient": edges.detach()}


def centred(values: Tensor, valid: Tensor) -> Tensor:
    """Less the median, over the mean absolute deviation from it, image by image (1907.01341, equations 5 and 6)."""
    marked = torch.where(valid, values, torch.nan).flatten(1)
    middle = marked.nanmedian(1).values.nan_to_num()[:, None, None, None]
    spread = _mean((values - middle).abs(), valid)[:, None, None, None]
    return (values - middle) / spread.clamp(min=1e-6)


def scale_shift_invariant(
    predicted: Tensor, disparity: Tensor, valid: Tensor, gradient: float = 0.5
) -> tuple[Tensor, dict[str, Tensor]]:
    """For disparity known up to a factor and a shift: trimmed absolute error of both, centred, plus gradients.

    The largest fifth of each picture's errors is left out of the data term (1907.01341, equations 7 and 11).
    """
    difference = centred(predicted, valid) - centred(torch.where(valid, disparity, 0.0), valid)
    errors = (
        torch.where(valid, difference.abs(), torch.inf).flatten(1).sort(1).values
    )  # (B, H*W), the invalid last
    count = valid.flatten(1).sum(1, keepdim=True)
    kept = torch.arange(errors.shape[1], device=errors.device) < (count * (1 - TRIMMED)).round()
    data = (torch.where(kept, errors, 0.0).sum(1) / (2 * count.squeeze(1)).clamp(min=1)).mean()
    edges = multi_scale_gradient(difference, valid)
    return data + gradient * edges, {"data": data.detach(), "gradient": edges.detach()}


@torch.no_grad()
def aligned(predicted: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """The prediction times the factor plus the shift that bring it nearest to the truth, by least squares per image."""
    x, y = _mean(predicted, valid), _mean(torch.where(valid, true, 0.0), valid)
    off = predicted - x[:, None, None, None]
    variance = _mean(off.square(), valid).clamp(min=1e-12)
    factor = _mean(off * torch.where(valid, true - y[:, None, None, None], 0.0), valid) / variance
    return off * factor[:, None, None, None] + y[:, None, None, None]


@torch.no_grad()
def scale_invariant_error(log_predicted: Tensor, log_true: Tensor, valid: Tensor) -> Tensor:
    """Root of the variance of log predicted - log true, image by image: (B,)."""
    error = torch.where(valid, log_predicted - log_true, 0.0)
    return (_mean(error.square(), valid) - _mean(error, valid).square()).clamp(min=0.0).sqrt()
