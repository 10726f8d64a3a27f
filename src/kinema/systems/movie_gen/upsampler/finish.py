"""The last layers of decoding, which see the enlarged small clip beside the decoded sample.

A projection of blocks decodes every block alone, and a small network leaves some noise in its sample. A few
convolutions over single frames take both away: they learn on what the sampler really makes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Finish(nn.Module):
    """Decoded frames and enlarged frames to finished ones, all (B, 3, T, H, W) with H and W even."""

    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        sizes = [2 * 3 * 4, *[width] * (depth + 1), 3 * 4]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate")
            for before, after in pairwise(sizes)
        )
        if not self.convs[0].weight.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """Start as the identity on the decoded frames."""
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None  # noqa: PT018
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        last = self.convs[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)

    def forward(self, decoded: Tensor, enlarged: Tensor) -> Tensor:
        """(B, 3, T, H, W) twice -> (B, 3, T, H, W), not clamped."""
        batch = len(decoded)
        frames = [clip.transpose(1, 2).flatten(0, 1) for clip in (decoded, enlarged)]  # (B * T, 3, H, W)
        x = F.pixel_unshuffle(torch.cat(frames, dim=1), 2)  # (B * T, 24, H / 2, W / 2)
        for conv in self.convs[:-1]:
            x = F.silu(conv(x))
        correction = F.pixel_shuffle(self.convs[-1](x).to(decoded.dtype), 2)
        return decoded + correction.unflatten(0, (batch, -1)).transpose(1, 2)
