"""The noise of a small sound codec, and its linear start: exact where it can be, better than random where not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from kinema.codecs import DacVAE, DacVAEConfig, load_codec, save_codec
from kinema.codecs.dac_config import GROUPS
from kinema.codecs.dac_losses import multi_scale_mel
from kinema.codecs.dac_noise import LOWEST, PERIOD, BandEnergies, ShapedNoise, groups
from kinema.codecs.dac_start import linear_start, principal_components
from kinema.eval.sound import si_sdr

TINY = DacVAEConfig(
    rate=16000, latent_channels=40, rates=(2, 4), encoder_widths=(32, 32, 48), trunk=48, decoder_widths=(48, 32, 32),
    frame=16, noise=True,
)  # fmt: skip


def sounds(count: int = 8, samples: int = 8192) -> torch.Tensor:
    """Hums with a burst of noise in the middle."""
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(samples) / 16000
    pitch = 100 + 200 * torch.rand(count, 1, 1, generator=generator)
    burst = torch.randn(count, 1, samples, generator=generator) * torch.exp(-(((time - 0.25) / 0.05) ** 2))
    return 0.3 * torch.sin(2 * torch.pi * pitch * time) + 0.1 * burst


@pytest.mark.parametrize("bands", [16, 40, 64])
def test_every_band_is_in_one_group(bands: int) -> None:
    share = groups(bands)
    assert share.shape == (GROUPS, bands)
    assert torch.equal((share > 0).sum(0), torch.ones(bands, dtype=torch.long))
    assert torch.allclose(share.sum(1), torch.ones(GROUPS))
    assert bool(((share > 0).float().argmax(0).diff() >= 0).all())


def test_energies_are_means_of_logarithms_beside_the_untouched_wave() -> None:
    layer = BandEnergies(32, 16)
    layer.init_weights()
    x = torch.cat([torch.full((1, 16, 3), 0.1), torch.zeros(1, 16, 3)], dim=1)
    out = layer(x)
    assert torch.equal(out[:, :16], x[:, :16])
    assert torch.allclose(out[:, 16:], torch.full((1, 16, 3), 0.05 * (-2.0 + 7.0)))


def test_noise_has_the_loudness_that_it_is_told() -> None:
    layer = ShapedNoise(32, 16)
    layer.init_weights()
    energies = BandEnergies(32, 16)
    energies.init_weights()
    x = energies(torch.cat([torch.full((1, 16, 6000), 0.01), torch.zeros(1, 16, 6000)], dim=1))
    added = (layer(x) - x)[0]
    high, low = added[8:16].std().detach(), added[0].std().detach()
    assert float(high) == pytest.approx(0.01, rel=0.03)
    assert float(low) == pytest.approx(0.01 * torch.exp(torch.tensor(-3.0)).item(), rel=0.05)
    assert float(added[16:].abs().max()) < 10 * torch.exp(torch.tensor(LOWEST)).item()


def test_noise_is_a_function_of_the_position() -> None:
    layer = ShapedNoise(32, 16)
    layer.init_weights()
    layer.loudness.bias.data.fill_(-1.0)
    x = torch.zeros(1, 32, 400)
    whole = layer(x)
    assert torch.equal(layer(x[..., 150:], start=150), whole[..., 150:])
    assert torch.equal(layer(x, start=PERIOD), whole)


def test_the_same_noise_in_pieces_and_in_whole() -> None:
    torch.manual_seed(0)
    codec = DacVAE(TINY)
    linear_start(codec, sounds())
    latent = torch.randn(1, 40, 300, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = codec.decode(latent, tile=None)
        pieces = codec.decode(latent, tile=40)
        again = codec.decode(latent, tile=None)
    assert torch.equal(whole, again)
    assert torch.allclose(whole, pieces, atol=2e-6)


def test_components_of_what_has_few_give_all_back() -> None:
    generator = torch.Generator().manual_seed(3)
    few = torch.randn(2, 5, 40, generator=generator)
    mixed = torch.randn(12, 5, generator=generator) @ few  # (2, 12, 40), of rank 5
    basis, values = principal_components(mixed, 1, 5)
    assert basis.shape == (5, 12, 1)
    assert torch.allclose(basis[:, :, 0].T @ values, mixed, atol=1e-4)
    flat = basis.flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(5), atol=1e-5)


def test_linear_start_is_far_better_than_random_weights() -> None:
    torch.manual_seed(0)
    codec, given = DacVAE(TINY), sounds()
    with torch.no_grad():
        random = codec(given, sample=False).sound
        linear_start(codec, sounds(16))
        made = codec(given, sample=False).sound
    scales = ((10, 64), (20, 256))
    before, after = (float(multi_scale_mel(x, given, 16000, scales)) for x in (random, made))
    assert after < 0.75 * before
    assert float(si_sdr(made, given).mean()) > 5.0
    assert float(si_sdr(random, given).mean()) < 0.0


def test_a_drawn_reconstruction_hears_other_noise() -> None:
    torch.manual_seed(0)
    codec = DacVAE(TINY)
    linear_start(codec, sounds())
    with torch.no_grad():
        first, second = (codec(sounds(), torch.Generator().manual_seed(k), sample=True).sound for k in (0, 1))
    assert not torch.allclose(first, second)


def test_settings_files_and_meta(tmp_path: Path) -> None:
    codec = DacVAE(TINY)
    save_codec(codec, tmp_path / "codec.safetensors")
    again = load_codec(tmp_path / "codec.safetensors")
    assert isinstance(again, DacVAE)
    assert again.config.noise
    assert not [name for name in codec.state_dict() if name.endswith("table")]  # read from a seed, not stored
    latent = torch.randn(1, 40, 4)
    with torch.no_grad():
        assert torch.equal(codec.decode(latent), again.decode(latent))
    with torch.device("meta"):
        empty = DacVAE(TINY)
    empty.to_empty(device="cpu").init_weights()
    assert all(bool(torch.isfinite(value).all()) for value in empty.state_dict().values())
    with pytest.raises(ValueError, match="noise needs frames"):
        dataclasses.replace(TINY, frame=1)
    with pytest.raises(ValueError, match="frames"):
        linear_start(DacVAE(dataclasses.replace(TINY, frame=1, noise=False)), sounds())
