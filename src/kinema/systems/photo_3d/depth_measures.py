"""How well disparity is read: beside a constant and a vertical gradient on drawn scenes, and on a real stereo pair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.media.depth import Depth, Intrinsics
from kinema.systems.photo_3d.depth import DepthEstimator
from kinema.systems.photo_3d.depth_losses import aligned, scale_invariant_error
from kinema.systems.photo_3d.depth_scenes import DepthBatch, depth_batch


def row_prior(height: int, width: int, scenes: int = 512) -> Tensor:
    """What a picture's rows alone foretell: the mean log disparity of each row of training scenes, (1, 1, H, 1)."""
    total = torch.zeros(height)
    for start in range(0, scenes, 32):
        numbers = range(30_000_000 + start, 30_000_000 + start + 32)
        logs = depth_batch(numbers, "train", height, width).disparity.log()
        total += (logs - logs.mean((2, 3), keepdim=True)).mean((1, 3)).sum(0)
    return (total / (-(-scenes // 32) * 32))[None, None, :, None]


@torch.no_grad()
def scene_errors(
    model: nn.Module, batches: Iterable[DepthBatch], prior: Tensor | None = None
) -> Mapping[str, float]:
    """Mean scale-invariant log errors over pictures: the model's, a constant's, and a vertical gradient's.

    prior: log disparity by row, see `row_prior`; None for a straight line, whose slope is the best for each picture,
    which no prior could know: the harder opponent.
    """
    device = next(model.parameters()).device
    found: dict[str, list[Tensor]] = {"error": [], "constant": [], "vertical": []}
    for batch in batches:
        log_true, valid = batch.disparity.log(), batch.valid
        zero = torch.zeros_like(log_true)
        if prior is None:
            rows = torch.linspace(-1, 1, log_true.shape[2])[:, None].expand_as(log_true)
            vertical = aligned(rows, log_true, valid)
        else:
            vertical = prior.expand_as(log_true)
        predicted = model(batch.pictures.to(device)).float().cpu()
        for name, guess in (("error", predicted), ("constant", zero), ("vertical", vertical)):
            found[name].append(scale_invariant_error(guess, log_true, valid))
    if not found["error"]:
        raise UserError("there are no scenes to measure on: expected at least one batch")
    return {name: float(torch.cat(values).mean()) for name, values in found.items()}


@dataclass(frozen=True, kw_only=True)
class StereoReport:
    """Disparity of one view against a stereo pair's truth.

    correlation: with the true disparity, after which an affine alignment explains r2 of its variance. abs_rel: mean
    relative error of the distance that the aligned disparity gives, beside that of the median distance everywhere.
    log_error: scale-invariant, without any alignment but the factor.
    """

    correlation: float
    r2: float
    abs_rel: float
    abs_rel_constant: float
    log_error: float
    log_error_constant: float


def motorcycle() -> tuple[np.ndarray, Depth]:
    """Middlebury's Motorcycle, left view: uint8 (500, 741, 3), and its disparity in pixels, NaN where unknown.

    Raises:
        UserError: scikit-image, in whose package the pair lies, is not installed.
    """
    try:
        from skimage.data import stereo_motorcycle
    except ImportError as error:
        raise UserError(
            "the Motorcycle pair comes with scikit-image: install it with `pip install kinema[eval]`"
        ) from error
    left, _, disparity = stereo_motorcycle()
    values = np.where(np.isfinite(disparity), disparity, np.nan).astype(np.float32)
    camera = Intrinsics(focal=994.978, cx=311.193, cy=254.877, baseline=0.193001, doffs=31.086)
    return left, Depth(values, "disparity_px", camera)


def against_stereo(estimator: DepthEstimator, photo: np.ndarray, truth: Depth) -> StereoReport:
    """Hold an estimate, at the photo's size, against the truth of a stereo pair."""
    true_disparity = torch.from_numpy(truth.to_relative().values)[None, None]
    metres = torch.from_numpy(truth.to_metres().values)[None, None]
    valid = true_disparity.isfinite() & metres.isfinite()
    predicted = torch.from_numpy(estimator.estimate(photo).values)[None, None]
    best = aligned(predicted, true_disparity.nan_to_num(), valid)
    guess, want = best[valid].double(), true_disparity[valid].double()
    assert truth.intrinsics is not None
    assert truth.intrinsics.baseline is not None
    # The aligned line may reach 0, where distance has no end: it is cut at the farthest truth.
    near = guess.clamp(min=float(want.min()))
    distance, true_distance = (
        truth.intrinsics.focal * truth.intrinsics.baseline / near,
        metres[valid].double(),
    )
    residual = (guess - want).square().mean() / want.var(correction=0)
    logs = torch.where(valid, true_disparity, 1.0).log()
    return StereoReport(
        correlation=float(torch.corrcoef(torch.stack([predicted[valid].double(), want]))[0, 1]),
        r2=1 - float(residual),
        abs_rel=float(((distance - true_distance).abs() / true_distance).mean()),
        abs_rel_constant=float(((true_distance.median() - true_distance).abs() / true_distance).mean()),
        log_error=float(scale_invariant_error(predicted.log(), logs, valid)),
        log_error_constant=float(scale_invariant_error(torch.zeros_like(logs), logs, valid)),
    )
