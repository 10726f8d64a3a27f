"""Encode and decode in overlapping tiles, so that memory does not grow with the clip's length or size.

In time as Movie Gen does it: tiles of 32 frames, no overlap in the encoder, 16 frames of overlap in the
decoder, blended linearly. The paper prints the weight j/N for the earlier tile, which would ramp the wrong
way; here the later tile has (j+1)/(n+1), so that no frame of the overlap has weight zero.

Letters: B batch, T H W pixel frames, rows, columns; t h w the same of the latent; C latent channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.codecs.codec import Codec
from kinema.codecs.latents import LatentSpec, ceil_div
from kinema.errors import UserError

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Tile lengths and overlaps, all in pixels and frames; None leaves an axis whole."""

    frames: int | None = 32
    frame_overlap: int = 16  # of the decoder; the encoder's tiles do not overlap in time
    size: int | None = None  # rows and columns of a tile
    overlap: int = 64  # between tiles in space, in the encoder too

    def in_latents(self, spec: LatentSpec) -> tuple[Axis, Axis, Axis]:
        """The tiles of (time, height, width) in units of the latent.

        Raises UserError where a length is not a multiple of the stride or an overlap is over half a tile.
        """
        lengths = (self.frames, self.size, self.size)
        overlaps = (self.frame_overlap, self.overlap, self.overlap)
        names = ("frames", "rows", "columns")
        axes = []
        for name, length, overlap, stride in zip(names, lengths, overlaps, spec.strides, strict=True):
            if length is not None and (length % stride or overlap % stride or not 0 <= 2 * overlap <= length):
                raise UserError(
                    f"a tile of {length} {name} with an overlap of {overlap} does not fit the codec: both must"
                    f" be multiples of {stride}, and the overlap at most half of the tile"
                )
            axes.append(Axis(None, 0) if length is None else Axis(length // stride, overlap // stride))
        return axes[0], axes[1], axes[2]


@dataclass(frozen=True)
class Axis:
    """Tile length and overlap along one axis in units of the latent; None is one tile for all."""

    tile: int | None
    overlap: int


def decode_stream(
    codec: Codec, latent: Tensor, num_frames: int | None = None, tiling: Tiling | None = None
) -> Iterator[Tensor]:
    """Decode a normalised latent (B, C, t, h, w) piece by piece: yields (B, 3, n, H, W), T frames in all.

    Each piece is final when it is yielded, and one tile is all that is held. Raises UserError as
    `Codec.decode` and `Tiling.in_latents` do.
    """
    time, height, width = (tiling or Tiling()).in_latents(codec.spec)
    left = codec.spec.num_frames(latent.shape[2], num_frames)
    st, sh, sw = codec.spec.strides

    def whole_frames(piece: Tensor) -> Tensor:
        return _joined(lambda x: _joined(codec.decode, x, 4, width, 1, sw), piece, 3, height, 1, sh)

    for piece in _tiles(whole_frames, latent, 2, time, 1, st):
        yield piece[:, :, :left]
        left -= piece.shape[2]
        if left <= 0:
            return


def decode_tiled(
    codec: Codec, latent: Tensor, num_frames: int | None = None, tiling: Tiling | None = None
) -> Tensor:
    """As `Codec.decode`, in tiles: normalised latent (B, C, t, h, w) -> pixels (B, 3, T, H, W)."""
    return torch.cat(list(decode_stream(codec, latent, num_frames, tiling)), dim=2)


def encode_tiled(codec: Codec, pixels: Tensor, tiling: Tiling | None = None) -> Tensor:
    """As `Codec.encode`, in tiles: pixels (B, 3, T, H, W) -> normalised latent (B, C, t, h, w)."""
    time, height, width = (tiling or Tiling()).in_latents(codec.spec)
    codec.spec.latent_shape(*pixels.shape[2:])
    st, sh, sw = codec.spec.strides

    def whole_frames(piece: Tensor) -> Tensor:
        return _joined(lambda x: _joined(codec.encode, x, 4, width, sw, 1), piece, 3, height, sh, 1)

    return _joined(whole_frames, pixels, 2, Axis(time.tile, 0), st, 1)


def _joined(run: Run, x: Tensor, axis: int, tiles: Axis, unit_in: int, unit_out: int) -> Tensor:
    return torch.cat(list(_tiles(run, x, axis, tiles, unit_in, unit_out)), dim=axis)


def _tiles(run: Run, x: Tensor, axis: int, tiles: Axis, unit_in: int, unit_out: int) -> Iterator[Tensor]:
    """Run over tiles along one axis and yield what is final.

    One latent position is `unit_in` positions of the input and `unit_out` of the output.
    """
    size = x.shape[axis]
    length = ceil_div(size, unit_in)
    if tiles.tile is None or length <= tiles.tile:
        yield run(x)
        return
    step = tiles.tile - tiles.overlap
    before: Tensor | None = None  # the end of the tile before, which this one overlaps
    for start in range(0, length, step):
        begin = start * unit_in
        piece = run(x.narrow(axis, begin, min(tiles.tile * unit_in, size - begin)))
        if before is not None:
            piece = blend(before, piece, axis)
        if start + tiles.tile >= length:
            yield piece
            return
        yield piece.narrow(axis, 0, step * unit_out)
        before = piece.narrow(axis, step * unit_out, tiles.overlap * unit_out)


def blend(before: Tensor, piece: Tensor, axis: int) -> Tensor:
    """Fade from `before`, the last n positions of the tile before, into the first n of `piece`."""
    n = before.shape[axis]
    if n == 0:
        return piece
    shape = [1] * piece.dim()
    shape[axis] = n
    weight = (torch.arange(1, n + 1, device=piece.device, dtype=piece.dtype) / (n + 1)).view(shape)
    head = torch.lerp(before, piece.narrow(axis, 0, n), weight)
    return torch.cat([head, piece.narrow(axis, n, piece.shape[axis] - n)], dim=axis)
