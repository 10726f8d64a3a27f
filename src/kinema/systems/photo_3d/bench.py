"""What `kinema eval` measures of the two networks of 3D photos, beside what needs no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.systems.photo_3d.depth import DepthEstimator
from kinema.systems.photo_3d.depth_measures import against_stereo, motorcycle, row_prior, scene_errors
from kinema.systems.photo_3d.depth_scenes import depth_batch
from kinema.systems.photo_3d.inpainting import Farbrausch
from kinema.systems.photo_3d.inpainting_recipe import SIDE, Holes, measure
from kinema.systems.photo_3d.photos import shipped_photos

Progress = Callable[[int, int], None]
BATCH = 16


class RowPrior(nn.Module):
    """A network that knows in which row it is, and nothing else: log disparity (1, 1, H, 1) for every picture."""

    def __init__(self, prior: Tensor) -> None:
        super().__init__()
        self.prior = nn.Parameter(prior, requires_grad=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, h, w) -> log disparity (B, 1, h, w)."""
        size = pictures.shape[2:]
        rows = nn.functional.interpolate(self.prior, (size[0], 1), mode="bilinear", align_corners=False)
        return rows.expand(len(pictures), 1, *size)

    def disparity(self, pictures: Tensor) -> Tensor:
        """What `DepthEstimator` asks of a network."""
        return self(pictures).exp()


def evaluate_depth(
    estimator: DepthEstimator,
    num_prompts: int = 256,
    seed: int = 0,
    steps: int | None = None,
    guidance_scale: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Errors on `num_prompts` held-out scenes and on Middlebury's Motorcycle; the result holds plain numbers only.

    Scenes: scale-invariant log errors of the network, a constant, and the mean disparity of each row of training scenes
    (`rows`), at the size that the network sees. Motorcycle: see `StereoReport`, for the network and for the rows.
    """
    _no_sampling(steps, guidance_scale)
    width = estimator.long_side
    height = estimator.network_size(width * 3 // 4, width)[0]
    prior = row_prior(height, width, 128)
    batches = []
    for start in range(0, num_prompts, BATCH):
        numbers = range(seed * 1_000_000 + start, seed * 1_000_000 + min(start + BATCH, num_prompts))
        batches.append(scene_errors(estimator.network, [depth_batch(numbers, "test", height, width)], prior))
        if progress is not None:
            progress(numbers[-1] + 1 - seed * 1_000_000, num_prompts)
    sizes = torch.tensor([min(BATCH, num_prompts - k) for k in range(0, num_prompts, BATCH)]).double()
    scenes = {
        name: float((torch.tensor([batch[key] for batch in batches]).double() * sizes).sum() / num_prompts)
        for name, key in (("network", "error"), ("constant", "constant"), ("rows", "vertical"))
    }
    photo, truth = motorcycle()
    rows = DepthEstimator(RowPrior(prior), long_side=width)  # type: ignore[arg-type]
    return {
        "held-out scenes, log error": scenes,
        "Motorcycle": asdict(against_stereo(estimator, photo, truth)),
        "Motorcycle, rows alone": asdict(against_stereo(rows, photo, truth)),
    }


def evaluate_inpainting(
    network: Farbrausch,
    num_prompts: int = 256,
    seed: int = 0,
    steps: int | None = None,
    guidance_scale: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """`measure` on `num_prompts` crops with holes of the photo that training never shows."""
    _no_sampling(steps, guidance_scale)
    held_out = Holes([shipped_photos()[-1]], SIDE)
    return measure(network, held_out, num_prompts, seed + 2**31)


def _no_sampling(steps: int | None, guidance_scale: float | None) -> None:
    if steps is not None or guidance_scale is not None:
        raise UserError("this network does not sample: leave out --steps and --guidance-scale")
