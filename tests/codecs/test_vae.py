"""The image autoencoder against diffusers' AutoencoderKL, and against its published key layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinema.codecs import ImageVAE, ImageVAEConfig, load_codec, load_diffusers, save_codec
from kinema.errors import UserError
from tests.parity import assert_parity, peer

SMALL = ImageVAEConfig(
    latent_channels=4, base_channels=32, multipliers=(1, 2, 2), encoder_blocks=(2,) * 3, decoder_blocks=(3,) * 3,
    latent_scale=1.5305, latent_shift=0.0609,
)  # fmt: skip


def theirs(config: ImageVAEConfig) -> torch.nn.Module:
    """diffusers' autoencoder of the same settings."""
    diffusers = peer("diffusers")
    return diffusers.AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * config.levels,
        up_block_types=("UpDecoderBlock2D",) * config.levels,
        block_out_channels=config.widths,
        layers_per_block=config.encoder_blocks[0],
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=config.latent_scale,
        shift_factor=config.latent_shift,
    ).eval()


def test_equals_diffusers_at_the_same_weights():
    reference, ours = theirs(SMALL), ImageVAE(SMALL)
    load_diffusers(ours, reference.state_dict())
    frames = torch.rand(2, 3, 3, 32, 48) * 2 - 1  # B C T H W
    with torch.no_grad():
        moments = reference.encode(frames[:, :, 1]).latent_dist
        posterior = ours.posterior(frames)
        assert_parity(posterior.mean[:, :, 1], moments.mean, 1e-5)
        assert_parity(posterior.logvar[:, :, 1], moments.logvar, 1e-5)
        assert_parity(ours.encode(frames)[:, :, 1], (moments.mean - 0.0609) * 1.5305, 1e-5)
        raw = torch.randn(2, 4, 3, 8, 12)
        assert_parity(ours.reconstruct(raw)[:, :, 2], reference.decode(raw[:, :, 2]).sample, 1e-5)


def test_published_layout_is_consumed_whole():
    with torch.device("meta"):
        reference, ours = theirs(ImageVAEConfig.preset("sd3")), ImageVAE(ImageVAEConfig.preset("sd3"))
    published = {name: tuple(value.shape) for name, value in reference.state_dict().items()}
    own = {k: tuple(v.shape) for k, v in ours.state_dict().items() if not k.startswith("spec.")}
    assert own == published
    load_diffusers(ours, reference.state_dict())
    # The published figure for the Stable Diffusion 3 autoencoder, 83.8 million.
    assert sum(p.numel() for p in ours.parameters()) == 83_819_683


def test_a_missing_and_a_foreign_key_are_refused():
    vae = ImageVAE(SMALL)
    state = {k: v for k, v in vae.state_dict().items() if not k.startswith("spec.")}
    state["decoder.conv_extra.weight"] = state.pop("decoder.conv_out.weight")
    with pytest.raises(UserError, match=r"decoder\.conv_out\.weight.*decoder\.conv_extra\.weight"):
        load_diffusers(vae, state)


def test_frames_do_not_see_each_other(tiny: ImageVAEConfig):
    vae = ImageVAE(tiny)
    clip = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    whole = vae(clip, sample=False).pixels
    alone = torch.cat([vae(clip[:, :, i : i + 1], sample=False).pixels for i in range(3)], dim=2)
    assert torch.allclose(whole, alone, atol=1e-5)


def test_decode_inverts_the_normalisation_and_clamps(tiny: ImageVAEConfig):
    vae = ImageVAE(tiny)
    vae.fit_statistics([torch.rand(2, 3, 2, 16, 16) * 2 - 1])
    clip = torch.rand(1, 3, 1, 16, 16) * 2 - 1
    raw = vae.posterior(clip).mean
    assert torch.allclose(vae.decode(vae.encode(clip)), vae.reconstruct(raw).clamp(-1, 1), atol=1e-5)
    assert vae.decode(1e4 * torch.randn(1, 4, 1, 4, 4)).abs().max() <= 1


def test_fitted_statistics_normalise(tiny: ImageVAEConfig):
    vae = ImageVAE(tiny)
    clips = torch.rand(2, 3, 4, 16, 16) * 2 - 1
    vae.fit_statistics(clips.split(1))
    latent = vae.encode(clips).transpose(0, 1).flatten(1)
    assert latent.mean(1).abs().max() < 1e-4
    assert (latent.std(1) - 1).abs().max() < 1e-3


def test_wrong_shapes_are_refused(tiny: ImageVAEConfig):
    vae = ImageVAE(tiny)
    with pytest.raises(UserError, match="clip of one frame"):
        vae.encode(torch.zeros(1, 3, 16, 16))
    with pytest.raises(UserError, match="multiple of 4"):
        vae.encode(torch.zeros(1, 3, 1, 16, 18))
    with pytest.raises(UserError, match=r"\(batch, 4, frames"):
        vae.decode(torch.zeros(1, 5, 1, 4, 4))


def test_settings_survive_the_file(tmp_path: Path):
    for name in ("nano", "small"):
        vae = ImageVAE(ImageVAEConfig.preset(name))
        path = tmp_path / f"{name}.safetensors"
        save_codec(vae, path)
        again = load_codec(path)
        assert type(again) is ImageVAE
        assert again.config == vae.config
        for key, value in vae.state_dict().items():
            assert torch.equal(again.state_dict()[key], value), key


def test_a_file_of_something_else_is_refused(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="does not say which codec"):
        load_codec(tmp_path / "a.safetensors")


def test_unknown_names_list_the_closest():
    with pytest.raises(UserError, match="did you mean sd3"):
        ImageVAEConfig.preset("sd35")
    with pytest.raises(UserError, match="latent_channels"):
        ImageVAEConfig.from_dict({"latent_chanels": 4})
