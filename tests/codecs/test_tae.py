"""The temporal autoencoder: inflation, lengths, shapes, presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kinema.codecs import (
    Codec,
    ImageVAE,
    ImageVAEConfig,
    TAEConfig,
    TemporalAutoencoder,
    image_config,
    inflate,
    linear_init_,
    load_codec,
    load_diffusers,
    save_codec,
)
from kinema.codecs.blocks import TemporalConv, depth_to_space, space_to_depth
from kinema.errors import UserError
from tests.parity import assert_parity, peer

MOVIE_GEN_PARAMETERS = 116_865_889  # 83,819,683 of the image network and 33,046,206 of time

Shake = Callable[[Codec], Codec]


def clip(frames: int, size: int = 16, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, frames, size, size) * 2 - 1


@pytest.mark.parametrize("strides", [(1, 1), (1, 2), (2, 2)])
def test_inflated_equals_the_image_autoencoder(tiny: ImageVAEConfig, strides: tuple[int, int]):
    """At stride 1 every frame is the image autoencoder's; at stride s, frame k*s, s times over."""
    image = ImageVAE(tiny)
    tae = inflate(image, TAEConfig(image=tiny, temporal_strides=strides))
    step = strides[0] * strides[1]
    pixels = clip(7, batch=2)
    frame_by_frame = image(pixels[:, :, ::step], sample=False)
    ours = tae(pixels, sample=False)
    assert torch.allclose(ours.posterior.mean, frame_by_frame.posterior.mean, atol=1e-5)
    expected = frame_by_frame.pixels.repeat_interleave(step, dim=2)[:, :, :7]
    assert torch.allclose(ours.pixels, expected, atol=1e-5)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_inflated_equals_diffusers_frame_by_frame(strides: tuple[int, int]):
    """With identity temporal taps the video network is the published image network, applied to each frame."""
    diffusers = peer("diffusers")
    reference = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 64),
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()
    image = ImageVAE(image_config(reference.config))
    load_diffusers(image, reference.state_dict())
    tae = inflate(image, TAEConfig(image=image.config, temporal_strides=strides))
    step = strides[0] * strides[1]
    pixels = clip(5, batch=2)
    raw = torch.randn(2, 16, 2, 4, 4)
    with torch.no_grad():
        posterior, decoded = tae.posterior(pixels), tae.reconstruct(raw)
        for i, frame in enumerate(range(0, 5, step)):
            moments = reference.encode(pixels[:, :, frame]).latent_dist
            assert_parity(posterior.mean[:, :, i], moments.mean, 1e-5)
            assert_parity(posterior.logvar[:, :, i], moments.logvar, 1e-5)
        for i in range(2 * step):
            assert_parity(decoded[:, :, i], reference.decode(raw[:, :, i // step]).sample, 1e-5)


def test_inflated_linear_skip_equals_the_image_autoencoder(shake: Shake):
    config = dataclasses.replace(ImageVAEConfig.preset("nano"), latent_channels=8)
    image = ImageVAE(config)
    linear_init_(image, clip(8, 64, batch=2))
    shake(image)
    tae = inflate(
        image, TAEConfig(image=config, temporal_strides=(2, 2), temporal_levels=(False, False, True))
    )
    pixels = clip(6, 64)
    expected = image(pixels[:, :, ::4], sample=False).pixels.repeat_interleave(4, dim=2)[:, :, :6]
    assert torch.allclose(tae(pixels, sample=False).pixels, expected, atol=1e-4)


def test_inflation_needs_the_same_image_settings(tiny: ImageVAEConfig):
    other = dataclasses.replace(tiny, latent_channels=8)
    with pytest.raises(UserError, match="image settings differ"):
        inflate(ImageVAE(tiny), TAEConfig(image=other, temporal_strides=(1, 1)))


@pytest.mark.parametrize("stride", [1, 2])
def test_temporal_convolution_equals_a_direct_sum_with_repeated_ends(stride: int):
    layer = TemporalConv(3, stride)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2 * 5, 3, 2, 4)  # two clips of five frames
    out = layer(x, 5).reshape(2, -1, 3, 2, 4)
    video = x.reshape(2, 5, 3, 2, 4)
    for b in range(2):
        for i, centre in enumerate(range(0, 5, stride)):
            taps = [video[b, min(max(centre + k, 0), 4)] for k in (-1, 0, 1)]
            wanted = sum(torch.einsum("oc,chw->ohw", layer.weight[:, :, k], taps[k]) for k in range(3))
            assert torch.allclose(out[b, i], wanted + layer.bias[:, None, None], atol=1e-5)


@pytest.mark.parametrize(("frames", "latent_frames"), [(1, 1), (4, 1), (5, 2), (13, 4)])
def test_any_length_is_rounded_up_and_the_spurious_frames_go(
    tiny_video: TAEConfig, frames: int, latent_frames: int
):
    tae = TemporalAutoencoder(tiny_video)
    latent = tae.encode(clip(frames))
    assert latent.shape == (1, 4, latent_frames, 4, 4)
    whole = tae.decode(latent)
    assert whole.shape[2] == 4 * latent_frames
    kept = tae.decode(latent, frames)
    assert kept.shape[2] == frames
    assert torch.equal(kept, whole[:, :, :frames])


@pytest.mark.parametrize("name", ["nano", "small"])
def test_an_image_passes_as_one_frame(name: str, shake: Shake):
    tae = shake(TemporalAutoencoder(TAEConfig.preset(name)))
    image = clip(1, 64)
    latent = tae.encode(image)
    assert latent.shape[2] == 1
    assert tae.decode(latent, 1).shape == image.shape
    # Replicate padding: a clip that stands still is, to the encoder, the image.
    still = tae.encode(image.expand(-1, -1, 4, -1, -1))
    assert torch.allclose(still, latent, atol=1e-4)


def test_time_is_symmetric(tiny_video: TAEConfig, shake: Shake):
    """Not causal: with mirrored kernels at stride 1, the reversed clip has the reversed latent."""
    config = dataclasses.replace(tiny_video, temporal_strides=(1, 1))
    tae = shake(TemporalAutoencoder(config))
    pixels = clip(5)
    forward = tae.encode(pixels)
    with torch.no_grad():
        for layer in tae.modules():
            if isinstance(layer, TemporalConv):
                layer.weight.copy_(layer.weight.flip(2))
    assert torch.allclose(tae.encode(pixels.flip(2)), forward.flip(2), atol=1e-4)
    later = pixels.clone()
    later[:, :, 4] = 0
    assert not torch.allclose(tae.encode(later)[:, :, 3], tae.encode(pixels)[:, :, 3], atol=1e-3)


def test_a_batch_is_its_clips(tiny_video: TAEConfig, shake: Shake):
    tae = shake(TemporalAutoencoder(tiny_video))
    pixels = clip(6, batch=2)
    whole = tae(pixels, sample=False).pixels
    alone = torch.cat([tae(one, sample=False).pixels for one in pixels.split(1)])
    assert torch.allclose(whole, alone, atol=1e-4)


@pytest.mark.parametrize("name", ["nano", "small"])
def test_gradients_reach_every_parameter(name: str, shake: Shake):
    tae = shake(TemporalAutoencoder(TAEConfig.preset(name)))
    out = tae(clip(8, 32))
    (out.pixels.square().mean() + out.posterior.logvar.mean()).backward()
    silent = [n for n, p in tae.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # A key's bias shifts all scores of a query alike, which the softmax removes.
    assert [n for n in silent if not n.endswith("to_k.bias")] == []


@pytest.mark.parametrize(("name", "strides"), [("movie_gen", (8, 8, 8)), ("movie_gen_ablation", (4, 8, 8))])
def test_published_sizes_build_on_the_meta_device(name: str, strides: tuple[int, int, int]):
    with torch.device("meta"):
        tae = TemporalAutoencoder(TAEConfig.preset(name))
        image = ImageVAE(tae.config.image)
    assert tae.spec.strides == strides
    assert tae.spec.latent_shape(256, 576, 1024)[1:] == (256 // strides[0], 72, 128)
    names = set(tae.state_dict())
    assert set(image.state_dict()) < names  # an image checkpoint fits as it is
    assert all("temporal" in key for key in names - set(image.state_dict()))
    spatial = sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) for m in image.modules())
    temporal = sum(key.endswith(".temporal.weight") for key in names)
    assert temporal == spatial  # one after every spatial convolution
    # So the count follows from the image network's: a kernel of 3 and a bias for each of those, and for each
    # halving and doubling; four matrices and a norm for each of the two temporal attentions.
    widths = [
        m.out_channels for m in image.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)
    ]
    resampled = [128, 256, 512][-sum(s == 2 for s in tae.config.temporal_strides) :]
    resampled += [512, 512, 256][: len(resampled)]
    added = sum(3 * c * c + c for c in widths + resampled) + 2 * (4 * (512 * 512 + 512) + 2 * 512)
    count = sum(p.numel() for p in tae.parameters())
    assert count == sum(p.numel() for p in image.parameters()) + added
    if name == "movie_gen":
        assert count == MOVIE_GEN_PARAMETERS


def test_every_parameter_and_buffer_is_initialised():
    config = TAEConfig.preset("nano")
    with torch.device("meta"):
        tae = TemporalAutoencoder(config)
    tae.to_empty(device="cpu")
    with torch.no_grad():
        for value in tae.state_dict().values():
            value.fill_(float("nan"))
    tae.init_weights()
    assert all(bool(value.isfinite().all()) for value in tae.state_dict().values())
    assert tae.decode(tae.encode(clip(4, 64))).isfinite().all()


def test_half_precision_file(tmp_path: Path, shake: Shake):
    tae = shake(TemporalAutoencoder(TAEConfig.preset("nano")))
    path = tmp_path / "nano.safetensors"
    save_codec(tae, path, dtype=torch.float16)
    again = load_codec(path)
    assert isinstance(again, TemporalAutoencoder)
    assert again.config == tae.config
    pixels = clip(8, 64)
    assert (again.encode(pixels) - tae.encode(pixels)).abs().max() < 2e-2
    assert path.stat().st_size < 3.6e6


def test_space_to_depth_has_an_inverse():
    x = torch.randn(2, 3, 8, 12)
    folded = space_to_depth(x, 4)
    assert folded.shape == (2, 48, 2, 3)
    assert torch.equal(folded[1, :, 1, 2].reshape(4, 4, 3).permute(2, 0, 1), x[1, :, 4:8, 8:12])
    assert torch.equal(depth_to_space(folded, 4), x)


def test_settings_that_contradict_each_other_are_refused(tiny: ImageVAEConfig):
    with pytest.raises(ValueError, match="give 2 entries"):
        TAEConfig(image=tiny, temporal_strides=(2, 2, 2))
    with pytest.raises(ValueError, match="one entry each"):
        TAEConfig(image=tiny, temporal_strides=(2, 2), temporal_levels=(True,))
    with pytest.raises(ValueError, match="norm_groups"):
        dataclasses.replace(tiny, norm_groups=3)
    assert TAEConfig.from_dict(TAEConfig.preset("nano").to_dict()) == TAEConfig.preset("nano")
