"""Wan 2.1's video autoencoder against diffusers' AutoencoderKLWan, and pieces of a clip against the clip."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from kinema.codecs import (
    Memory,
    Tiling,
    WanVAE,
    WanVAEConfig,
    decode_stream,
    decode_tiled,
    encode_stream,
    encode_tiled,
    load_codec,
    load_wan,
    read_wan_vae,
    save_codec,
)
from kinema.codecs.wan_weights import wan_rules
from kinema.errors import UserError
from tests.parity import assert_parity, peer

TINY = WanVAEConfig(base_channels=8, multipliers=(1, 2, 2, 4), blocks=1)


def clip(frames: int, height: int = 16, width: int = 24, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, frames, height, width) * 2 - 1


@torch.no_grad()
def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """Move every gain and zero off its start: they hide errors."""
    for name, parameter in network.named_parameters():
        if name.endswith(("gamma", "proj.weight")):
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture
def vae() -> WanVAE:
    network = shaken(WanVAE(TINY))
    assert isinstance(network, WanVAE)
    return network.requires_grad_(False)


def theirs(config: WanVAEConfig) -> torch.nn.Module:
    """diffusers' autoencoder of the same settings."""
    diffusers = peer("diffusers")
    return diffusers.AutoencoderKLWan(
        base_dim=config.base_channels,
        z_dim=config.latent_channels,
        dim_mult=list(config.multipliers),
        num_res_blocks=config.blocks,
        temperal_downsample=[stride == 2 for stride in config.temporal_strides],
    )


@torch.no_grad()
@pytest.mark.parametrize(
    ("config", "lengths"),
    [(TINY, (1, 5, 9, 17)), (dataclasses.replace(TINY, multipliers=(1, 2, 4, 4), blocks=2), (5,))],
)
def test_equals_diffusers_at_the_same_weights(config: WanVAEConfig, lengths: tuple[int, ...]):
    reference, ours = shaken(theirs(config)), WanVAE(config)
    load_wan(ours, reference.state_dict())
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (config.latent_mean, config.latent_std))
    for frames in lengths:
        pixels = clip(frames, batch=2 if frames == 5 else 1)
        moments = reference.encode(pixels).latent_dist
        posterior = ours.posterior(pixels)
        assert_parity(posterior.mean, moments.mean, 1e-4)
        assert_parity(posterior.logvar, moments.logvar, 1e-4)
        assert_parity(ours.encode(pixels), (moments.mean - mean) / std, 1e-4)
        latent = torch.randn(moments.mean.shape)
        assert_parity(ours.decode(latent), reference.decode(latent * std + mean).sample, 1e-4)


def test_published_layouts_are_consumed_whole():
    with torch.device("meta"):
        reference, ours = theirs(WanVAEConfig()), WanVAE()
    published = reference.state_dict()
    load_wan(ours, published)
    own = {k: v for k, v in ours.state_dict().items() if not k.startswith("spec.")}
    assert len(own) == len(published) == 194
    assert sum(v.numel() for v in own.values()) == sum(v.numel() for v in published.values()) == 126_892_531
    load_wan(ours, own)
    # Names and shapes of Wan2.1_VAE.pth, from both ends of each half.
    for name, shape in {
        "conv1.weight": (32, 32, 1, 1, 1),
        "conv2.bias": (16,),
        "encoder.conv1.weight": (96, 3, 3, 3, 3),
        "encoder.downsamples.0.residual.0.gamma": (96, 1, 1, 1),
        "encoder.downsamples.2.resample.1.weight": (96, 96, 3, 3),
        "encoder.downsamples.3.shortcut.weight": (192, 96, 1, 1, 1),
        "encoder.downsamples.5.time_conv.weight": (192, 192, 3, 1, 1),
        "encoder.downsamples.10.residual.6.weight": (384, 384, 3, 3, 3),
        "encoder.middle.1.norm.gamma": (384, 1, 1),
        "encoder.middle.1.to_qkv.weight": (1152, 384, 1, 1),
        "encoder.head.2.weight": (32, 384, 3, 3, 3),
        "decoder.conv1.weight": (384, 16, 3, 3, 3),
        "decoder.middle.2.residual.2.weight": (384, 384, 3, 3, 3),
        "decoder.upsamples.3.time_conv.weight": (768, 384, 3, 1, 1),
        "decoder.upsamples.4.shortcut.weight": (384, 192, 1, 1, 1),
        "decoder.upsamples.11.resample.1.weight": (96, 192, 3, 3),
        "decoder.upsamples.14.residual.3.gamma": (96, 1, 1, 1),
        "decoder.head.2.weight": (3, 96, 3, 3, 3),
    }.items():
        assert tuple(own[name].shape) == shape, name


def test_files_of_both_layouts_load(vae: WanVAE, tmp_path: Path):
    from safetensors.torch import save_file

    state = {k: v for k, v in vae.state_dict().items() if not k.startswith("spec.")}
    torch.save(state, tmp_path / "Wan2.1_VAE.pth")
    save_file(state, tmp_path / "wan.safetensors")
    for name in ("Wan2.1_VAE.pth", "wan.safetensors"):
        again = read_wan_vae(tmp_path / name, TINY)
        assert all(torch.equal(again.state_dict()[key], value) for key, value in vae.state_dict().items())
    assert again.spec.mean[3] == torch.tensor(0.1075)
    del state["conv2.bias"]
    with pytest.raises(UserError, match=r"1 is missing \(conv2\.bias\)"):
        load_wan(vae, state)
    with pytest.raises(UserError, match=r"no published layout .*decoder\.up_blocks\.0\.upsampler\."):
        load_wan(vae, {**state, "decoder.up_blocks.0.upsampler.resample.1.bias": torch.zeros(1)})


def test_every_layer_of_diffusers_has_a_place_of_its_own():
    """The table is injective: as many names as tensors, and none falls through."""
    from kinema.codecs.keymap import rename

    with torch.device("meta"):
        reference, ours = theirs(TINY), WanVAE(TINY)
    renamed = rename(reference.state_dict(), wan_rules(TINY.blocks), "state")
    assert renamed.dropped == {}
    assert renamed.state.keys() == {k for k in ours.state_dict() if not k.startswith("spec.")}


@pytest.mark.parametrize("cuts", [[13], [1, 12], [5, 4, 4], [9, 4], [1, 8, 4]])
def test_pieces_of_any_length_give_what_the_whole_gives(vae: WanVAE, cuts: list[int]):
    pixels = clip(13)
    memory = Memory()
    latent = torch.cat([vae.encode_piece(piece, memory) for piece in pixels.split(cuts, dim=2)], dim=2)
    assert torch.allclose(latent, vae.encode(pixels), atol=1e-5)
    memory = Memory()
    latents = [1 + (cuts[0] - 1) // 4] + [n // 4 for n in cuts[1:]]
    decoded = torch.cat([vae.decode_piece(piece, memory) for piece in latent.split(latents, dim=2)], dim=2)
    assert torch.allclose(decoded, vae.decode(latent), atol=1e-5)


def test_no_frame_sees_a_later_one(vae: WanVAE):
    pixels = clip(9)
    later = torch.cat([pixels[:, :, :5], clip(4)], dim=2)
    assert torch.equal(vae.encode(pixels)[:, :, :2], vae.encode(later)[:, :, :2])
    assert not torch.allclose(vae.encode(pixels)[:, :, 2], vae.encode(later)[:, :, 2], atol=1e-3)
    latent = torch.randn(1, 16, 3, 2, 3)
    assert torch.equal(vae.decode(latent)[:, :, :5], vae.decode(latent[:, :, :2]))


@pytest.mark.parametrize(("frames", "latent_frames"), [(1, 1), (2, 2), (5, 2), (6, 3), (9, 3)])
def test_any_length_is_filled_up_and_cut_back(vae: WanVAE, frames: int, latent_frames: int):
    pixels = clip(frames)
    latent = vae.encode(pixels)
    assert latent.shape == (1, 16, latent_frames, 2, 3)
    assert vae.decode(latent).shape[2] == 4 * latent_frames - 3
    assert torch.equal(vae.decode(latent, frames), vae.decode(latent)[:, :, :frames])
    filled = torch.cat([pixels, pixels[:, :, -1:].expand(-1, -1, -(frames - 1) % 4, -1, -1)], dim=2)
    assert torch.equal(vae.encode(filled), latent)


def test_memory_does_not_grow_with_the_clip(vae: WanVAE):
    """What is remembered after three latent frames is all there ever is, and no view of something larger."""
    memory, sizes = Memory(), []
    for _ in range(6):
        vae.decode_piece(torch.randn(1, 16, 1, 2, 3), memory)
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in memory.past.values()))
    assert sizes[2:] == sizes[2:3] * 4
    convolutions = [m for m in vae.decoder.modules() if getattr(m, "reach", 0)]
    assert len(memory.past) == len(convolutions)
    assert all(tensor.shape[2] <= 2 for tensor in memory.past.values())


def test_streams_give_what_the_whole_gives(vae: WanVAE):
    pixels = clip(14)
    latent = vae.encode(pixels)
    for tiling in (None, Tiling(frames=8, frame_overlap=0)):
        pieces = list(encode_stream(vae, pixels.split([2, 7, 5], dim=2), tiling))
        assert torch.allclose(torch.cat(pieces, dim=2), latent, atol=1e-5)
        assert torch.allclose(encode_tiled(vae, pixels, tiling), latent, atol=1e-5)
        stream = list(decode_stream(vae, latent, 14, tiling))
        assert torch.allclose(torch.cat(stream, dim=2), vae.decode(latent, 14), atol=1e-5)
        assert torch.allclose(decode_tiled(vae, latent, 14, tiling), vae.decode(latent, 14), atol=1e-5)
    assert [piece.shape[2] for piece in decode_stream(vae, latent, 14)] == [1, 4, 4, 4, 1]


def test_tiles_in_space_remember_apart(vae: WanVAE):
    """Streaming with a memory a tile equals taking one tile after the other through the clip, seam included."""
    tiling = Tiling(frames=4, frame_overlap=0, size=32, overlap=16)
    latent = torch.randn(1, 16, 3, 4, 8)  # 32 x 64 pixels: three tiles in a row
    tiled = decode_tiled(vae, latent, tiling=tiling)
    assert tiled.shape == (1, 3, 9, 32, 64)
    assert torch.allclose(torch.cat(list(decode_stream(vae, latent, tiling=tiling)), dim=2), tiled, atol=1e-5)
    assert torch.allclose(tiled[..., :16], vae.decode(latent[..., :4])[..., :16], atol=1e-5)
    pixels = clip(9, 32, 64)
    encoded = encode_tiled(vae, pixels, tiling)
    assert torch.allclose(torch.cat(list(encode_stream(vae, [pixels], tiling)), dim=2), encoded, atol=1e-5)
    assert torch.allclose(encoded[..., :2], vae.encode(pixels[..., :32])[..., :2], atol=1e-5)


def test_it_trains_and_survives_a_file(tmp_path: Path):
    vae = shaken(WanVAE(TINY))
    out = vae(clip(5))
    (out.pixels.square().mean() + out.posterior.logvar.mean()).backward()
    assert out.pixels.shape == (1, 3, 5, 16, 24)
    silent = [n for n, p in vae.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []
    save_codec(vae, tmp_path / "wan.safetensors")
    again = load_codec(tmp_path / "wan.safetensors")
    assert isinstance(again, WanVAE)
    assert again.config == TINY
    assert all(torch.equal(again.state_dict()[key], value) for key, value in vae.state_dict().items())


def test_what_does_not_fit_is_refused(vae: WanVAE):
    with pytest.raises(UserError, match="multiple of 8"):
        vae.encode(clip(1, 20, 16))
    with pytest.raises(UserError, match="clip of one frame"):
        vae.encode(torch.zeros(1, 3, 16, 16))
    with pytest.raises(UserError, match=r"\(batch, 16, frames"):
        vae.decode(torch.zeros(1, 4, 1, 2, 2))
    with pytest.raises(UserError, match="2 latent frames decode to 2 to 5 frames"):
        vae.decode(torch.zeros(1, 16, 2, 2, 2), 6)
    with pytest.raises(ValueError, match="give 3 entries"):
        WanVAEConfig(temporal_strides=(2, 2))
    with pytest.raises(ValueError, match="one for each of 4 channels"):
        WanVAEConfig(latent_channels=4)


def test_every_parameter_and_buffer_is_initialised():
    with torch.device("meta"):
        vae = WanVAE(TINY)
    vae.to_empty(device="cpu")
    with torch.no_grad():
        for value in vae.state_dict().values():
            value.fill_(float("nan"))
    vae.init_weights()
    assert all(bool(value.isfinite().all()) for value in vae.state_dict().values())
