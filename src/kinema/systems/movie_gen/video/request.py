"""What every text-to-video pipeline checks of a request, and the noise that a seed stands for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kinema.errors import UserError


def check_request(prompts: Sequence[str], seeds: Sequence[int], scale: float, fps: float) -> None:
    """Raises UserError unless there is one usable seed a prompt and guidance and rate are in their ranges."""
    if isinstance(prompts, str):
        raise UserError(
            "prompts is one text and must be a list of texts: write [prompt], and [seed] beside it"
        )
    if len(prompts) != len(seeds):
        raise UserError(f"there are {len(prompts)} prompts and {len(seeds)} seeds: give one seed a prompt")
    for seed in seeds:
        if not hasattr(seed, "__index__") or not 0 <= seed < 2**63:
            raise UserError(f"seed is {seed!r} and must be a whole number from 0 to 2**63 - 1")
    if not 0 <= scale <= 50:
        raise UserError(f"guidance_scale is {scale} and must lie between 0 and 50")
    if not 0 < fps <= 120:
        raise UserError(f"fps is {fps} and must lie above 0 and at most 120")


def seeded_noise(shape: tuple[int, ...], seeds: Sequence[int]) -> Tensor:
    """Noise (B, *shape), drawn on the CPU; a sample's depends on its seed alone."""
    return torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    )
