"""A linear space-time patch projection beside the network, and its start from principal components.

A block of `st x sh x sw` pixels is one position of the latent, so a projection on the leading principal
components of such blocks is a codec already; with it the network learns only what a linear map cannot do.

Letters: B batch, T H W pixel frames, rows, columns; t h w the same of the latent; C latent channels;
D = 3 * st * sh * sw values of a block.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor, nn

from kinema.codecs.latents import ceil_div


class LinearSkip(nn.Module):
    """Blocks of pixels to latent means by one matrix, and back by another."""

    def __init__(self, block: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.block = block
        size = 3 * block[0] * block[1] * block[2]
        self.analysis = nn.Linear(size, channels)
        self.synthesis = nn.Linear(channels, size)

    def init_weights(self) -> None:
        """An arbitrary orthonormal projection and its transpose, until `linear_init_` has seen clips."""
        nn.init.orthogonal_(self.analysis.weight)
        nn.init.zeros_(self.analysis.bias)
        nn.init.zeros_(self.synthesis.bias)
        with torch.no_grad():
            self.synthesis.weight.copy_(self.analysis.weight.T)

    def blocks(self, pixels: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, t, h, w, D); the last frame is repeated to fill the last block."""
        st, sh, sw = self.block
        missing = ceil_div(pixels.shape[2], st) * st - pixels.shape[2]
        if missing:
            pixels = torch.cat([pixels, pixels[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)
        return rearrange(pixels, "b c (t p) (h q) (w r) -> b t h w (p q r c)", p=st, q=sh, r=sw)

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, C, t, h, w)."""
        return self.analysis(self.blocks(pixels)).permute(0, 4, 1, 2, 3)

    def decode(self, latent: Tensor) -> Tensor:
        """(B, C, t, h, w) -> (B, 3, t*st, h*sh, w*sw)."""
        st, sh, sw = self.block
        blocks = self.synthesis(latent.permute(0, 2, 3, 4, 1))
        return rearrange(blocks, "b t h w (p q r c) -> b c (t p) (h q) (w r)", p=st, q=sh, r=sw)

    @torch.no_grad()
    def fit(self, clips: Iterable[Tensor]) -> float:
        """Set the projection to the leading principal components of the clips' blocks, whitened.

        Each of `clips` is (B, 3, T, H, W). Returns the PSNR in dB (peak 2, as pixels run from -1 to 1) that
        the projection alone reaches on them, before clamping.
        """
        count = 0
        total: Tensor | None = None
        products: Tensor | None = None
        for batch in clips:
            rows = self.blocks(batch).flatten(0, 3).double()
            total = rows.sum(0) if total is None else total + rows.sum(0)
            products = rows.T @ rows if products is None else products + rows.T @ rows
            count += len(rows)
        if total is None or products is None:
            raise ValueError("no clips were given to fit the linear projection on: give at least one")
        mean = total / count
        variances, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
        variances, vectors = variances.flip(0).clamp_min(0), vectors.flip(1)  # largest first
        channels = self.analysis.out_features
        scale = variances[:channels].clamp_min(1e-8).sqrt()
        basis = vectors[:, :channels]  # (D, C)
        self.analysis.weight.copy_((basis / scale).T)
        self.analysis.bias.copy_(-(mean @ basis) / scale)
        self.synthesis.weight.copy_(basis * scale)
        self.synthesis.bias.copy_(mean)
        error = float(variances[channels:].sum()) / len(variances)
        return psnr(error)

    @torch.no_grad()
    def inflate(self, image: LinearSkip) -> None:
        """Take over an image's projection: read the first frame of a block, write it to all of them."""
        st = self.block[0]
        rows = image.analysis.in_features
        self.analysis.weight.zero_()
        self.analysis.weight[:, :rows] = image.analysis.weight
        self.analysis.bias.copy_(image.analysis.bias)
        self.synthesis.weight.copy_(image.synthesis.weight.repeat(st, 1))
        self.synthesis.bias.copy_(image.synthesis.bias.repeat(st))


def psnr(mean_squared_error: float, peak: float = 2.0) -> float:
    """Peak signal-to-noise ratio in dB; the peak is 2 for pixels in [-1, 1]."""
    return float(10 * torch.log10(torch.tensor(peak**2 / max(mean_squared_error, 1e-12))))
