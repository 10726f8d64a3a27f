"""The image autoencoder against diffusers' AutoencoderKL, and against its published key layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from kinema.codecs import (
    ImageVAE,
    ImageVAEConfig,
    TAEConfig,
    image_config,
    load_codec,
    load_diffusers,
    read_image_vae,
    save_codec,
)
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
        use_quant_conv=config.quant_conv,
        use_post_quant_conv=config.quant_conv,
        scaling_factor=config.latent_scale,
        shift_factor=config.latent_shift,
    ).eval()


def latent_diffusion_names(state: dict[str, torch.Tensor], levels: int) -> dict[str, torch.Tensor]:
    """diffusers' names to those of latent diffusion, written down independently of the loader's table."""
    out = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[1].startswith("conv_norm"):
            parts[1] = "norm_out"
        elif parts[1] in ("down_blocks", "up_blocks"):
            level = int(parts[2]) if parts[1] == "down_blocks" else levels - 1 - int(parts[2])
            tail = (
                ["block", *parts[4:]] if parts[3] == "resnets" else [parts[3].removesuffix("rs"), *parts[5:]]
            )
            tail = ["nin_shortcut" if part == "conv_shortcut" else part for part in tail]
            parts = [parts[0], parts[1].split("_")[0], str(level), *tail]
        elif parts[1] == "mid_block" and parts[2] == "resnets":
            parts = [parts[0], "mid", f"block_{int(parts[3]) + 1}", *parts[4:]]
        elif parts[1] == "mid_block":
            names = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
            parts = [parts[0], "mid", "attn_1", names[parts[4]], parts[-1]]
            value = value[:, :, None, None] if value.dim() == 2 else value
        out["first_stage_model." + ".".join(parts)] = value
    return out


@pytest.mark.parametrize(("channels", "quant_conv"), [(4, True), (8, False), (16, False)])
def test_equals_diffusers_at_the_same_weights(channels: int, quant_conv: bool):
    config = dataclasses.replace(SMALL, latent_channels=channels, quant_conv=quant_conv)
    reference = theirs(config)
    ours = ImageVAE(image_config(reference.config))
    assert ours.config == config
    assert load_diffusers(ours, reference.state_dict()) == {}
    frames = torch.rand(2, 3, 2, 16, 24) * 2 - 1  # B C T H W
    with torch.no_grad():
        moments = reference.encode(frames[:, :, 1]).latent_dist
        posterior = ours.posterior(frames)
        assert_parity(posterior.mean[:, :, 1], moments.mean, 1e-5)
        assert_parity(posterior.logvar[:, :, 1], moments.logvar, 1e-5)
        assert_parity(ours.encode(frames)[:, :, 1], (moments.mean - 0.0609) * 1.5305, 1e-5)
        raw = torch.randn(2, channels, 2, 4, 6)
        assert_parity(ours.reconstruct(raw)[:, :, 1], reference.decode(raw[:, :, 1]).sample, 1e-5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("sd1", 83_653_863), ("sdxl", 83_653_863), ("sd3", 83_819_683), ("flux1", 83_819_683)],
)
def test_published_layout_is_consumed_whole(name: str, parameters: int):
    """Both layouts, to the last tensor; the counts are those of the published files."""
    with torch.device("meta"):
        reference, ours = theirs(ImageVAEConfig.preset(name)), ImageVAE(ImageVAEConfig.preset(name))
    published = reference.state_dict()
    own = {k: tuple(v.shape) for k, v in ours.state_dict().items() if not k.startswith("spec.")}
    assert own == {key: tuple(value.shape) for key, value in published.items()}
    assert sum(p.numel() for p in ours.parameters()) == parameters
    load_diffusers(ours, published)
    original = latent_diffusion_names(published, 4)
    assert original["first_stage_model.decoder.up.3.upsample.conv.weight"].shape == (512, 512, 3, 3)
    assert original["first_stage_model.encoder.mid.attn_1.q.weight"].shape == (512, 512, 1, 1)
    load_diffusers(ours, original)


def test_a_checkpoint_in_the_original_layout_gives_the_same_network(tmp_path: Path, tiny: ImageVAEConfig):
    from safetensors.torch import save_file

    config = dataclasses.replace(tiny, quant_conv=True)
    vae = ImageVAE(config)
    state = {k: v for k, v in vae.state_dict().items() if not k.startswith("spec.")}
    original = latent_diffusion_names(state, config.levels)
    path = tmp_path / "v1.safetensors"
    save_file({k: v.contiguous() for k, v in original.items()}, path)
    again = read_image_vae(path, config)
    for key, value in vae.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    extra = {
        "model.diffusion_model.out.weight": torch.zeros(1),
        "first_stage_model.loss.logvar": torch.zeros(1),
    }
    dropped = load_diffusers(vae, {**original, **extra})
    assert dropped == {
        "model.diffusion_model.out.weight": "the diffusion model, another network",
        "first_stage_model.loss.logvar": "losses of the training",
    }
    with pytest.raises(UserError, match="holds the network twice"):
        load_diffusers(vae, {**original, **state})


def test_attention_under_its_old_names_is_found(tiny: ImageVAEConfig):
    vae = ImageVAE(tiny)
    state = {k: v.clone() for k, v in vae.state_dict().items() if not k.startswith("spec.")}
    names = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    old = {}
    for key, value in state.items():
        new = next((key.replace(a, b) for a, b in names.items() if a in key), key)
        old[new] = value
    assert old.keys() != state.keys()
    other = ImageVAE(tiny)
    load_diffusers(other, old)
    assert all(torch.equal(other.state_dict()[key], value) for key, value in state.items())


def test_a_missing_and_a_foreign_key_are_refused(tiny: ImageVAEConfig):
    vae = ImageVAE(tiny)
    state = {k: v for k, v in vae.state_dict().items() if not k.startswith("spec.")}
    weight = state.pop("decoder.conv_out.weight")
    with pytest.raises(UserError, match=r"1 is missing \(decoder\.conv_out\.weight\)"):
        load_diffusers(vae, state)
    with pytest.raises(UserError, match=r"no published layout .*decoder\.conv_extra\.weight"):
        load_diffusers(vae, {**state, "decoder.conv_extra.weight": weight})
    with pytest.raises(UserError, match=r"unexpected \(decoder\.up_blocks\.7"):
        load_diffusers(
            vae,
            {**state, "decoder.conv_out.weight": weight, "decoder.up_blocks.7.resnets.0.conv1.bias": weight},
        )


@pytest.mark.parametrize(
    "change",
    [
        {"in_channels": 4},
        {"latents_mean": [0.0]},
        {"down_block_types": ["X"]},
        {"use_post_quant_conv": False},
    ],
)
def test_settings_of_another_kind_of_autoencoder_are_refused(change: dict[str, object]):
    settings = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "scaling_factor": 0.18215}
    assert image_config(settings) == ImageVAEConfig.preset("sd1")
    with pytest.raises(UserError, match="autoencoder's settings"):
        image_config({**settings, **change})


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
    with pytest.raises(UserError, match="of the image autoencoder; the closest are sd3"):
        ImageVAEConfig.preset("sd35")
    with pytest.raises(UserError, match="latent_channels"):
        ImageVAEConfig.from_dict({"latent_chanels": 4})
    with pytest.raises(UserError, match="TAEConfig needs image, temporal_strides as well"):
        TAEConfig.from_dict({})
