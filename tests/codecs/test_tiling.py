"""Tiled coding against coding whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from kinema.codecs import (
    Codec,
    TAEConfig,
    TemporalAutoencoder,
    Tiling,
    decode_stream,
    decode_tiled,
    encode_stream,
    encode_tiled,
)
from kinema.codecs.stitch import blend, collect
from kinema.errors import UserError

SHORT = Tiling(frames=16, frame_overlap=8)
SPACE = Tiling(frames=16, frame_overlap=8, size=32, overlap=16)


@pytest.fixture
def nano() -> TemporalAutoencoder:
    """The nano codec as it starts: its linear skip alone, which works block by block and so tiles exactly."""
    # The strides are pinned to 4x8x8, so that a change of the preset does not change what is tested here.
    return TemporalAutoencoder(dataclasses.replace(TAEConfig.preset("nano"), temporal_strides=(2, 2)))


@pytest.fixture
def local(tiny_video: TAEConfig) -> TemporalAutoencoder:
    """Frames meet only in the decoder's two temporal upsamplings, so its reach in time is two frames."""
    return TemporalAutoencoder(dataclasses.replace(tiny_video, temporal_levels=(False, False, False)))


def test_blend_ramps_towards_the_later_tile():
    out = blend(torch.zeros(1, 3), torch.ones(1, 5), 1)
    assert torch.allclose(out, torch.tensor([[0.25, 0.5, 0.75, 1.0, 1.0]]))


@pytest.mark.parametrize("tiling", [SHORT, SPACE])
@pytest.mark.parametrize("frames", [1, 15, 16, 17, 38])
def test_a_block_codec_tiles_exactly(nano: TemporalAutoencoder, tiling: Tiling, frames: int):
    pixels = torch.rand(1, 3, frames, 48, 72) * 2 - 1
    latent = nano.encode(pixels)
    assert torch.allclose(encode_tiled(nano, pixels, tiling), latent, atol=1e-5)
    whole = nano.decode(latent, frames)
    assert torch.allclose(decode_tiled(nano, latent, frames, tiling), whole, atol=1e-5)


@torch.no_grad()
def test_tiles_agree_beyond_the_reach_and_blend_within(
    local: TemporalAutoencoder, shake: Callable[[Codec], Codec]
):
    shake(local)
    latent = torch.randn(1, 4, 6, 4, 4)
    whole, tiled = local.decode(latent), decode_tiled(local, latent, tiling=SHORT)
    # Tiles cover frames 0-15 and 8-23 and overlap on 8-15, of which 8, 9, 14 and 15 are near an end.
    for frames in (slice(0, 8), slice(11, 13), slice(16, 24)):
        assert torch.allclose(tiled[:, :, frames], whole[:, :, frames], atol=1e-4)
    early, late = local.decode(latent[:, :, :4])[:, :, 8:], local.decode(latent[:, :, 2:])[:, :, :8]
    assert not torch.allclose(early, late, atol=1e-3)
    weight = (torch.arange(1, 9) / 9).view(1, 1, 8, 1, 1)
    assert torch.allclose(tiled[:, :, 8:16], (1 - weight) * early + weight * late, atol=1e-5)


@torch.no_grad()
def test_spatial_tiles_stay_between_their_neighbours(tiny_video: TAEConfig, shake: Callable[[Codec], Codec]):
    """Group norm and attention see a whole frame, so tiles in space cannot agree exactly; the seam must not show."""
    tae = shake(TemporalAutoencoder(tiny_video))
    latent = torch.randn(1, 4, 1, 4, 12)
    tiled = decode_tiled(tae, latent, tiling=Tiling(size=32, overlap=16))
    left, right = tae.decode(latent[..., :8]), tae.decode(latent[..., 4:])
    assert torch.equal(tiled[..., :16], left[..., :16])
    assert torch.equal(tiled[..., 32:], right[..., 16:])
    seam, a, b = tiled[..., 16:32], left[..., 16:], right[..., :16]
    assert (seam <= torch.maximum(a, b) + 1e-6).all()
    assert (seam >= torch.minimum(a, b) - 1e-6).all()


@torch.no_grad()
def test_stream_gives_the_same_frames_and_never_decodes_more_than_a_tile(
    nano: TemporalAutoencoder, monkeypatch: pytest.MonkeyPatch
):
    latent = torch.randn(1, nano.spec.channels, 13, 4, 4)
    seen = []
    plain = nano.decode

    def watched(piece: torch.Tensor, num_frames: int | None = None) -> torch.Tensor:
        seen.append(piece.shape[2])
        return plain(piece, num_frames)

    monkeypatch.setattr(nano, "decode", watched)
    pieces = list(decode_stream(nano, latent, 50, SHORT))
    assert max(seen) == 4
    assert max(piece.shape[2] for piece in pieces[:-1]) == 8
    assert torch.equal(torch.cat(pieces, dim=2), decode_tiled(nano, latent, 50, SHORT))
    assert torch.allclose(torch.cat(pieces, dim=2), plain(latent, 50), atol=1e-5)


def test_a_stream_starts_before_the_clip_is_decoded(nano: TemporalAutoencoder):
    stream = decode_stream(nano, torch.randn(1, nano.spec.channels, 40, 2, 2), tiling=SHORT)
    assert next(stream).shape == (1, 3, 8, 16, 16)


def test_a_clip_that_comes_in_pieces_is_encoded_as_in_one(nano: TemporalAutoencoder):
    pixels = torch.rand(1, 3, 38, 16, 16) * 2 - 1
    pieces = list(encode_stream(nano, pixels.split([3, 30, 5], dim=2), SHORT))
    assert [piece.shape[2] for piece in pieces] == [4, 4, 2]
    assert torch.equal(torch.cat(pieces, dim=2), encode_tiled(nano, pixels, SHORT))
    with pytest.raises(UserError, match="multiple of 8"):
        next(encode_stream(nano, [torch.zeros(1, 3, 4, 12, 16)], SHORT))


def test_pieces_are_collected_into_the_length_asked_for():
    x = torch.arange(10.0).view(1, 10)
    assert torch.equal(collect(x.split([3, 3, 4], dim=1), 1, 8), x[:, :8])
    with pytest.raises(ValueError, match="have 10 positions along axis 1 and should have 11"):
        collect([x], 1, 11)


@pytest.mark.parametrize(
    "tiling",
    [Tiling(frames=30), Tiling(frames=32, frame_overlap=20), Tiling(size=60), Tiling(size=64, overlap=12)],
)
def test_tiles_that_do_not_fit_are_refused(nano: TemporalAutoencoder, tiling: Tiling):
    with pytest.raises(UserError, match="multiples of"):
        decode_tiled(nano, torch.zeros(1, nano.spec.channels, 1, 2, 2), tiling=tiling)


def test_sizes_and_lengths_are_checked(nano: TemporalAutoencoder):
    with pytest.raises(UserError, match="multiple of 8"):
        encode_tiled(nano, torch.zeros(1, 3, 4, 60, 64), SHORT)
    with pytest.raises(UserError, match="2 latent frames decode to 5 to 8"):
        decode_tiled(nano, torch.zeros(1, nano.spec.channels, 2, 2, 2), 9, SHORT)
