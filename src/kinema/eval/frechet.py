"""The Frechet distance between two sets of features, each taken as a normal distribution (Heusel et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.errors import UserError


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and covariance (D, D), float64."""

    mean: Tensor
    covariance: Tensor


def fit_gaussian(features: Tensor) -> Gaussian:
    """Mean and unbiased covariance of features (N, D), in float64. Raises UserError for fewer than two rows."""
    if features.ndim != 2 or len(features) < 2:
        raise UserError(f"features of shape {tuple(features.shape)}: expected (N, D) with N of at least 2")
    values = features.detach().double().cpu()
    if not bool(values.isfinite().all()):
        raise UserError(
            "the features hold values that are not finite: look at the clips they were taken from"
        )
    mean = values.mean(0)
    centred = values - mean
    return Gaussian(mean, centred.T @ centred / (len(values) - 1))


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def frechet_between(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2): never negative, 0 for equal distributions."""
    root = _root(a.covariance)
    inner = root @ b.covariance @ root
    cross = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    gap = (a.mean - b.mean).square().sum()
    return max(0.0, float(gap + a.covariance.trace() + b.covariance.trace() - 2 * cross))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The distance between features (N, D) and (M, D), in float64.

    It falls with N and M: compare only distances taken from equally many clips, and give the distance between two
    sets of true clips beside them as the floor.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise UserError(
            f"features of shapes {tuple(a.shape)} and {tuple(b.shape)}: expected (N, D) and (M, D)"
        )
    return frechet_between(fit_gaussian(a), fit_gaussian(b))
