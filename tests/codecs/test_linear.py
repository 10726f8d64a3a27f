"""The linear skip starts a codec at the quality of principal components, computed here with NumPy's SVD."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kinema.codecs import ImageVAE, ImageVAEConfig, TAEConfig, TemporalAutoencoder, linear_init_

CONFIG = TAEConfig(
    image=dataclasses.replace(ImageVAEConfig.preset("nano"), latent_channels=6),
    temporal_strides=(2, 2),
    temporal_levels=(False, False, True),
)


def smooth_clips(count: int, frames: int) -> torch.Tensor:
    """Random fields with most energy at low frequencies, (count, 3, frames, 32, 32) within [-1, 1]."""
    coarse = torch.randn(count, 3, 3, 5, 5)
    fine = torch.nn.functional.interpolate(coarse, size=(frames, 32, 32), mode="trilinear")
    return (0.4 * fine + 0.02 * torch.randn_like(fine)).clamp(-1, 1)


def svd_psnr(clips: torch.Tensor, block: tuple[int, int, int], components: int) -> float:
    """PSNR of the best affine projection of the clips' blocks, without kinema's code."""
    n, c, t, h, w = clips.shape
    p, q, r = block
    x = clips.numpy().astype(np.float64).reshape(n, c, t // p, p, h // q, q, w // r, r)
    x = x.transpose(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, c * p * q * r)
    x = x - x.mean(0)
    singular = np.linalg.svd(x, compute_uv=False)
    return float(10 * np.log10(4 / (np.square(singular[components:]).sum() / x.size)))


@pytest.mark.parametrize("space_time", [True, False])
def test_an_untrained_codec_has_the_psnr_of_principal_components(space_time: bool):
    codec = TemporalAutoencoder(CONFIG) if space_time else ImageVAE(CONFIG.image)
    clips = smooth_clips(8, 8)
    reported = linear_init_(codec, clips.split(3))
    out = codec(clips, sample=False).pixels
    reached = 10 * torch.log10(4 / (out - clips).square().mean()).item()
    expected = svd_psnr(clips, (4 if space_time else 1, 8, 8), 6)
    assert abs(reached - expected) < 1e-2
    assert abs(reported - expected) < 1e-2
    latent = codec.encode(clips).transpose(0, 1).flatten(1)  # whitened
    assert latent.mean(1).abs().max() < 1e-3
    assert (latent.std(1) - 1).abs().max() < 1e-2


def test_sampling_hardly_costs_at_the_start():
    codec = TemporalAutoencoder(CONFIG)
    clips = smooth_clips(8, 8)
    linear_init_(codec, clips)
    mean = (codec(clips, sample=False).pixels - clips).square().mean()
    drawn = (codec(clips, torch.Generator().manual_seed(0)).pixels - clips).square().mean()
    assert drawn < 1.1 * mean


def test_one_frame_fills_its_block_by_repetition():
    codec = TemporalAutoencoder(CONFIG)
    image = smooth_clips(1, 1)
    assert codec.linear is not None
    assert torch.equal(codec.linear.encode(image), codec.linear.encode(image.expand(-1, -1, 4, -1, -1)))


def test_training_improves_on_the_start():
    codec = TemporalAutoencoder(CONFIG)
    clips = smooth_clips(4, 4)
    linear_init_(codec, clips)
    optimiser = torch.optim.Adam([p for n, p in codec.named_parameters() if "linear" not in n], lr=2e-3)
    losses = []
    for _ in range(12):
        loss = (codec(clips, sample=False).pixels - clips).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


def test_a_codec_without_the_skip_is_refused():
    with pytest.raises(ValueError, match="linear_skip=True"):
        linear_init_(ImageVAE(ImageVAEConfig.preset("small")), smooth_clips(1, 1))
    with pytest.raises(ValueError, match="at least one"):
        linear_init_(TemporalAutoencoder(CONFIG), [])
