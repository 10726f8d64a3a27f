"""Encode and decode in overlapping tiles, so that memory does not grow with the clip's length or size.

In time as Movie Gen does it: tiles of 32 frames, no overlap in the encoder, 16 frames of overlap in the
decoder, blended linearly. The paper prints the weight j/N for the earlier tile, which would ramp the wrong
way; here the later tile has (j+1)/(n+1), so that no frame of the overlap has weight zero. A causal codec
remembers what came before a piece, so it needs no overlap in time and gives what it gives of the whole clip.

Letters: B batch, T H W pixel frames, rows, columns; t h w the same of the latent; C latent channels.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kinema.codecs.codec import Codec, check_latent, check_pixels
from kinema.codecs.latents import LatentSpec, ceil_div
from kinema.codecs.stitch import blend, collect
from kinema.codecs.wan_layers import Memory
from kinema.codecs.wan_vae import WanVAE
from kinema.errors import UserError

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Tile lengths and overlaps, all in pixels and frames; None leaves an axis whole.

    A causal codec takes its first frame and `frames - 1` more, and then `frames` at a time, without overlap.
    """

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


CAUSAL = Tiling(frames=4, frame_overlap=0)  # where nothing is said: the least memory, at the same result


def decode_stream(
    codec: Codec | WanVAE, latent: Tensor, num_frames: int | None = None, tiling: Tiling | None = None
) -> Iterator[Tensor]:
    """Decode a normalised latent (B, C, t, h, w) piece by piece: yields (B, 3, n, H, W), T frames in all.

    Each piece is final when it is yielded, and one tile is all that is held; of a causal codec also what each
    tile in space remembers, which grows with the picture but not with the clip. Raises UserError as
    `Codec.decode` and `Tiling.in_latents` do.
    """
    time, height, width = _axes(codec, tiling)
    check_latent(latent, codec.spec)
    left = codec.spec.num_frames(latent.shape[2], num_frames)
    st, sh, sw = codec.spec.strides
    space = _Space(height, width, (1, 1), (sh, sw))
    if isinstance(codec, WanVAE):
        pieces = _remembered(codec.decode_piece, latent.split(time.tile or latent.shape[2], dim=2), space)
    else:
        decode = codec.decode
        pieces = _tiles(lambda x: space.run(decode, x), latent, 2, time, 1, st)
    for piece in pieces:
        yield piece[:, :, :left]
        left -= piece.shape[2]
        if left <= 0:
            return
        del piece  # before the next one is made


def decode_tiled(
    codec: Codec | WanVAE, latent: Tensor, num_frames: int | None = None, tiling: Tiling | None = None
) -> Tensor:
    """As `Codec.decode`, in tiles: normalised latent (B, C, t, h, w) -> pixels (B, 3, T, H, W).

    The peak is the result and one tile.
    """
    _, height, width = _axes(codec, tiling)
    check_latent(latent, codec.spec)
    keep = codec.spec.num_frames(latent.shape[2], num_frames)
    if isinstance(codec, WanVAE) and (height.tile or width.tile):
        # Tile after tile through the whole clip: only one tile's memory at a time.
        alone = replace(tiling or CAUSAL, size=None)
        space = _Space(height, width, (1, 1), codec.spec.strides[1:])
        return space.run(lambda x: decode_tiled(codec, x, num_frames, alone), latent)
    return collect(decode_stream(codec, latent, num_frames, tiling), 2, keep)


def encode_stream(
    codec: Codec | WanVAE, pieces: Iterable[Tensor], tiling: Tiling | None = None
) -> Iterator[Tensor]:
    """Encode a clip that comes in pieces (B, 3, n, H, W) of any lengths: yields normalised latents (B, C, n', h, w).

    Neither the clip nor its latent need be held. Tiles in space as in `decode_stream`.
    """
    time, height, width = _axes(codec, tiling)
    _, sh, sw = codec.spec.strides
    space = _Space(height, width, (sh, sw), (1, 1))
    whole = sys.maxsize if time.tile is None else time.tile * codec.spec.strides[0]
    if isinstance(codec, WanVAE):
        first = whole if time.tile is None else codec.spec.num_frames(time.tile)
        yield from _remembered(codec.encode_piece, _recut(codec.spec, pieces, first, whole), space)
    else:
        for piece in _recut(codec.spec, pieces, whole, whole):
            yield space.run(codec.encode, piece)


def encode_tiled(codec: Codec | WanVAE, pixels: Tensor, tiling: Tiling | None = None) -> Tensor:
    """As `Codec.encode`, in tiles: pixels (B, 3, T, H, W) -> normalised latent (B, C, t, h, w)."""
    _, height, width = _axes(codec, tiling)
    check_pixels(pixels)
    length = codec.spec.latent_shape(*pixels.shape[2:])[1]
    if isinstance(codec, WanVAE) and (height.tile or width.tile):
        alone = replace(tiling or CAUSAL, size=None)
        space = _Space(height, width, codec.spec.strides[1:], (1, 1))
        return space.run(lambda x: encode_tiled(codec, x, alone), pixels)
    return collect(encode_stream(codec, [pixels], tiling), 2, length)


def _axes(codec: Codec | WanVAE, tiling: Tiling | None) -> tuple[Axis, Axis, Axis]:
    return (tiling or (CAUSAL if isinstance(codec, WanVAE) else Tiling())).in_latents(codec.spec)


@dataclass(frozen=True)
class _Space:
    """Tiles in rows and columns; one latent position is so many (rows, columns) of what comes and goes."""

    height: Axis
    width: Axis
    unit_in: tuple[int, ...]
    unit_out: tuple[int, ...]

    def run(self, run: Run, x: Tensor) -> Tensor:
        """Run over tiles of (B, C, T, H, W), always in the same order, and blend what they give."""

        def row(part: Tensor) -> Tensor:
            return _joined(run, part, 4, self.width, self.unit_in[1], self.unit_out[1])

        return _joined(row, x, 3, self.height, self.unit_in[0], self.unit_out[0])


def _remembered(
    run: Callable[[Tensor, Memory], Tensor], pieces: Iterable[Tensor], space: _Space
) -> Iterator[Tensor]:
    """Run over the pieces of a clip, with a memory for each tile in space."""
    memories: defaultdict[int, Memory] = defaultdict(Memory)
    for piece in pieces:
        tiles = iter(range(sys.maxsize))
        yield space.run(lambda x: run(x, memories[next(tiles)]), piece)  # noqa: B023  # called before the next


def _recut(spec: LatentSpec, pieces: Iterable[Tensor], first: int, rest: int) -> Iterator[Tensor]:
    """The same frames in pieces of `first`, then `rest` frames; the last one may be shorter."""
    held: Tensor | None = None
    wanted = first
    for piece in pieces:
        check_pixels(piece)
        spec.latent_shape(*piece.shape[2:])
        held = piece if held is None else torch.cat([held, piece], dim=2)
        while held.shape[2] >= wanted:
            yield held[:, :, :wanted]
            held, wanted = held[:, :, wanted:], rest
    if held is not None and held.shape[2]:
        yield held


def _joined(run: Run, x: Tensor, axis: int, tiles: Axis, unit_in: int, unit_out: int) -> Tensor:
    if tiles.tile is None or x.shape[axis] <= tiles.tile * unit_in:
        return run(x)
    length = x.shape[axis] // unit_in * unit_out
    return collect(_tiles(run, x, axis, tiles, unit_in, unit_out), axis, length)


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
        before = piece.narrow(axis, step * unit_out, tiles.overlap * unit_out).clone()
        del piece  # before the next one is made
