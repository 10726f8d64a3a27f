"""Masked autoencoding of images and clips: most patches are dropped, an encoder sees the rest, a decoder predicts all.

    keep = random_keep(torch.rand(batch, tokens, generator=generator), tokens // 4)
    prediction = model(x, keep)
    loss = masked_loss(prediction, pixel_targets(x, patch), keep)

Dropped means that nothing is computed for them: neither stem nor blocks see more than the kept tokens.
"""

# B batch, N tokens of the grid, K kept, P prefix tokens, D width of the encoder, E of the decoder, V pixels of a patch

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from kinema.nn.patches import patchify, unpatchify
from kinema.nn.position_tables import GridPositions
from kinema.nn.stems import ConvStem, Grid
from kinema.nn.vit import VisionTransformer, init_transformer

EPS = 1e-6  # on the variance of a patch


def random_keep(noise: Tensor, count: int) -> Tensor:
    """The places of the `count` smallest values in each row of noise, in order: (B, N) -> (B, count), int64."""
    if not 0 < count <= noise.shape[1]:
        raise ValueError(f"{count} of {noise.shape[1]} tokens cannot be kept: at least one, at most all")
    return noise.argsort(dim=1)[:, :count].sort(dim=1).values


def keep_of(masked: Tensor) -> Tensor:
    """The places that are False in masks (B, N), of which each row must have as many: (B, K), int64."""
    counts = (~masked).sum(1)
    if len(counts.unique()) != 1:
        raise ValueError("each sample of a batch must keep as many tokens as the others")
    return (~masked).nonzero()[:, 1].unflatten(0, (len(masked), -1))


def masked_of(keep: Tensor, tokens: int) -> Tensor:
    """The inverse of `keep_of`: True at the dropped places, (B, K) -> (B, tokens)."""
    return torch.ones(len(keep), tokens, dtype=torch.bool, device=keep.device).scatter_(1, keep, False)


def pixel_patches(x: Tensor, patch: Grid) -> Tensor:
    """(B, C, H, W) or (B, C, T, H, W) -> (B, N, V, C): pixels of a patch by frame, row, column; channels last.

    An image, or a clip of one frame, stands still for as many frames as a patch has.
    """
    channels = x.shape[1]
    if x.ndim == 4 or x.shape[2] == 1:
        image = x if x.ndim == 4 else x[:, :, 0]
        x = image[:, :, None].expand(-1, -1, patch[0], -1, -1)
    return patchify(x, patch).unflatten(2, (channels, -1)).transpose(2, 3)


def pixel_targets(x: Tensor, patch: Grid, normalise: Literal["patch", "channel", "none"] = "patch") -> Tensor:
    """What a decoder predicts, (B, N, V*C) in float32: channels fastest, then columns, rows, frames.

    normalise: by mean and unbiased variance of each `patch`, or of each `channel` of each patch, or not at all.
    """
    patches = pixel_patches(x, patch).float()
    if normalise != "none":
        mean, std = _statistics(patches, normalise)
        patches = (patches - mean) / std
    return patches.flatten(2)


def pixels_of(
    prediction: Tensor, x: Tensor, patch: Grid, normalise: Literal["patch", "channel", "none"] = "patch"
) -> Tensor:
    """A prediction (B, N, V*C) as pixels, with the mean and contrast that the patches of `x` have: for looking at.

    Gives the shape of `x`; of an image the first of the frames that it stood still for.
    """
    patches = pixel_patches(x, patch).float()
    image, channels = x.ndim == 4 or x.shape[2] == 1, x.shape[1]
    cells = prediction.float().unflatten(2, (-1, channels))  # (B, N, V, C)
    if normalise != "none":
        mean, std = _statistics(patches, normalise)
        cells = cells * std + mean
    frames = 1 if image else x.shape[2] // patch[0]
    grid = (frames, x.shape[-2] // patch[1], x.shape[-1] // patch[2])
    clip = unpatchify(cells.transpose(2, 3).flatten(2), grid, patch, channels)
    return clip[:, :, 0] if x.ndim == 4 else clip[:, :, : x.shape[2]]


def masked_loss(prediction: Tensor, target: Tensor, keep: Tensor) -> Tensor:
    """Mean squared error of the dropped tokens of the whole batch, in float32; 0 where nothing was dropped."""
    error = (prediction.float() - target).square().mean(2)  # (B, N)
    masked = masked_of(keep, error.shape[1])
    return (error * masked).sum() / masked.sum().clamp(min=1)


class PixelDecoder(nn.Module):
    """A small transformer from the kept tokens to the pixels of all: (B, P + K, D) -> (B, N, outputs).

    Args:
        dim: width of the encoder.
        positions: of the decoder's own, with the encoder's prefix. Their width says where mask token and positions are
            put in: at the decoder's width behind the projection (MAE), or at the encoder's before it (OmniMAE).
        blocks: of the decoder's width.
        width: of the blocks.
        outputs: pixels of a patch times channels.
        eps: of the final layer norm.
    """

    def __init__(
        self,
        dim: int,
        width: int,
        positions: GridPositions,
        blocks: nn.ModuleList,
        outputs: int,
        *,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if positions.dim not in (dim, width):
            raise ValueError(f"positions of width {positions.dim} fit neither {dim} nor {width}")
        self.project_first = positions.dim == width
        self.project = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.empty(positions.dim))
        self.positions = positions
        self.blocks = blocks
        self.norm = nn.LayerNorm(width, eps)
        self.pixels = nn.Linear(width, outputs)
        if not self.mask_token.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        init_transformer(self)
        self.positions.init_weights()
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, latent: Tensor, keep: Tensor, grid: Grid) -> Tensor:
        """`keep` (B, K) says where the tokens behind the prefix come from, `grid` how many there are in all."""
        prefix = self.positions.prefix
        if self.project_first:
            latent = self.project(latent)
        cells = self.mask_token.to(latent.dtype).expand(len(latent), math.prod(grid), -1)
        places = keep[..., None].expand(-1, -1, latent.shape[2])
        tokens = torch.cat([latent[:, :prefix], cells.scatter(1, places, latent[:, prefix:])], 1)
        tokens = tokens + self.positions(grid).to(latent.dtype)  # (B, P + N, D or E)
        if not self.project_first:
            tokens = self.project(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return self.pixels(self.norm(tokens[:, prefix:]))


class MaskedAutoencoder(nn.Module):
    """An encoder that sees the kept tokens and a decoder that predicts the pixels of all: (B, N, V*C).

    `patch` is that of the encoder's stem: frames, rows and columns.
    """

    def __init__(self, encoder: VisionTransformer, decoder: PixelDecoder) -> None:
        super().__init__()
        if isinstance(encoder.stem, ConvStem):
            raise TypeError("small convolutions see their neighbours: a masked model needs a stem of patches")
        self.patch = encoder.stem.patch
        self.encoder, self.decoder = encoder, decoder

    def init_weights(self) -> None:
        self.encoder.init_weights()
        self.decoder.init_weights()

    def tokens(self, x: Tensor) -> int:
        """How many tokens N an input has."""
        return math.prod(self.encoder.stem.grid(x))

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Predictions for every token; `keep` (B, K) are the places that the encoder may see."""
        return self.decoder(self.encoder.encode(x, keep), keep, self.encoder.stem.grid(x))


def _statistics(patches: Tensor, normalise: Literal["patch", "channel", "none"]) -> tuple[Tensor, Tensor]:
    axes = (2, 3) if normalise == "patch" else (2,)
    variance, mean = torch.var_mean(patches, axes, correction=1, keepdim=True)
    return mean, (variance + EPS).sqrt()
