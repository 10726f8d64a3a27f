"""The sound autoencoder: its peers (recorded), the published layout, lengths, pieces, the watermark."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinema.codecs import DacVAE, DacVAEConfig, load_codec, load_dacvae, read_dacvae, save_codec
from kinema.codecs.dac_config import FULL, NANO
from kinema.codecs.dac_layers import NormedConv1d, mdct
from kinema.codecs.dac_vae import SoundDecoder, SoundEncoder
from kinema.codecs.dac_watermark import Watermark
from kinema.codecs.dac_weights import dacvae_rules
from kinema.codecs.keymap import rename
from kinema.errors import UserError
from tests.codecs.formula import formula_weights, uniform
from tests.parity import assert_parity

HERE = Path(__file__).parent
RECORDED = HERE / "dac.safetensors"  # by make_dac.py, as the layout
SMALL = DacVAEConfig(
    latent_channels=3, rates=(2, 4), encoder_widths=(4, 8, 16), trunk=16, decoder_widths=(48, 24, 12)
)
FRAMED = DacVAEConfig(
    latent_channels=3, rates=(3, 2), encoder_widths=(8, 8, 8), trunk=8, decoder_widths=(8, 8, 8), frame=4
)


def noise(name: str, *shape: int) -> Tensor:
    return uniform(name, shape).float()


def layout() -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(shape) for name, shape in json.loads((HERE / "dacvae_layout.json").read_text()).items()
    }


def fill(module: torch.nn.Module) -> torch.nn.Module:
    module.load_state_dict(formula_weights({n: tuple(v.shape) for n, v in module.state_dict().items()}))
    return module.eval()


@torch.no_grad()
def test_trunk_equals_descript_audio_codec() -> None:
    config = DacVAEConfig(
        latent_channels=4, rates=(2, 8, 10, 12), encoder_widths=(4, 8, 16, 32, 64), trunk=16,
        decoder_widths=(64, 32, 16, 8, 4),
    )  # fmt: skip
    recorded = load_file(RECORDED)
    assert_parity(fill(SoundEncoder(config))(noise("sound", 1, 1, 3840)), recorded["descript.encoded"])
    assert_parity(fill(SoundDecoder(config))(noise("trunk", 1, 16, 2)), recorded["descript.decoded"])


@torch.no_grad()
def test_encode_and_decode_equal_metas_dacvae() -> None:
    config = DacVAEConfig(
        latent_channels=4, rates=(2, 4), encoder_widths=(4, 8, 16), trunk=16, decoder_widths=(48, 24, 12)
    )
    recorded = load_file(RECORDED)
    codec = DacVAE(config)
    theirs = _published_shapes(config)
    dropped = load_dacvae(codec, formula_weights(theirs))
    assert all("watermark" in reason for reason in dropped.values())
    sound = noise("clip", 2, 1, 123)  # 15.4 frames: the end is mirrored
    posterior = codec.posterior(sound)
    assert_parity(posterior.mean, recorded["dacvae.mean"])
    assert_parity((0.5 * posterior.logvar).exp(), recorded["dacvae.std"])
    latent = codec.encode(sound)
    assert torch.equal(latent, posterior.mean)
    assert_parity(codec.decode(latent), recorded["dacvae.decoded"])
    assert_parity(codec.folded().decode(latent), recorded["dacvae.decoded"])


def _published_shapes(config: DacVAEConfig) -> dict[str, tuple[int, ...]]:
    """The published names with the shapes of smaller settings of two stages, without the watermark."""
    ours = {n: tuple(v.shape) for n, v in DacVAE(config).state_dict().items()}
    back = {"2": "4", "3": "5", "4": "8"}
    out = {}
    for name, shape in ours.items():
        parts = name.split(".")
        if parts[0] == "spec":
            continue
        if parts[0] in ("in_proj", "out_proj"):
            parts.insert(0, "quantizer")
        if parts[0] == "decoder":
            if parts[2] == "3":
                parts = ["decoder", "wm_model", "encoder_block", "pre", "0", parts[3]]
            elif parts[2] == "4":
                parts = ["decoder", "wm_model", "encoder_block", "pre", "1", parts[3]]
            elif parts[2] != "0":
                parts[4] = back.get(parts[4], parts[4])
        out[".".join(parts)] = shape
    out["decoder.wm_model.encoder_block.pre.3.bias"] = (32,)
    return out


@pytest.mark.parametrize("preset", ["full", "full_watermarked"])
def test_published_layout_is_consumed_strictly(preset: str) -> None:
    with torch.device("meta"):
        codec = DacVAE(DacVAEConfig.preset(preset))
        state = {name: torch.empty(shape) for name, shape in layout().items()}
    before = {name: value.shape for name, value in codec.state_dict().items()}
    dropped = load_dacvae(codec, state)
    assert {name: value.shape for name, value in codec.state_dict().items()} == before
    assert len(codec.state_dict()) - 2 == len(state) - len(dropped)
    assert bool(dropped) == (preset == "full")
    newer = {n.replace("weight_g", "parametrizations.weight.original0"): v for n, v in state.items()}
    newer = {n.replace("weight_v", "parametrizations.weight.original1"): v for n, v in newer.items()}
    assert newer.keys() != state.keys()
    load_dacvae(codec, newer)
    with pytest.raises(UserError, match="no published layout"):
        load_dacvae(codec, {**state, "decoder.model.1.block.9.alpha": torch.zeros(1)})
    del state["decoder.wm_model.encoder_block.pre.1.weight_g"]
    with pytest.raises(UserError, match=r"decoder\.model\.6\.weight_g"):
        load_dacvae(codec, state)


def test_parameters_are_counted_as_published() -> None:
    """107.7 M, as a codec benchmark lists Movie Gen's, is with the watermark's layers."""
    with torch.device("meta"):
        count = {
            name: sum(p.numel() for p in DacVAE(DacVAEConfig.preset(name)).parameters())
            for name in ("full", "full_watermarked", "nano")
        }
    assert count["full_watermarked"] == 107_671_171
    assert count["full"] == 92_995_298
    assert 300_000 < count["nano"] < 1_300_000
    for name in ("full", "nano"):
        config = DacVAEConfig.preset(name)
        assert (config.hop, config.frames_per_second) == (1920, 25.0)


@torch.no_grad()
def test_watermark_equals_metas() -> None:
    recorded = load_file(RECORDED)
    config = DacVAEConfig.preset("full_watermarked")
    theirs = re.compile(
        r"decoder\.(model\.\d\.block\.(3|6|7|11)\..+|wm_model\.(?!encoder_block\.pre\.[01]).+)"
    )
    shapes = {n.removeprefix("decoder."): s for n, s in layout().items() if theirs.fullmatch(n)}
    filled = {f"decoder.{n}": v for n, v in formula_weights(shapes).items()}
    ours = rename(filled, dacvae_rules(config), "test").state
    watermark = Watermark(config)
    watermark.load_state_dict({n[10:]: v for n, v in ours.items() if n.startswith("watermark.")}, strict=True)
    clean = recorded["dacvae.clean"]
    added = watermark(clean, recorded["dacvae.message"])
    assert added.abs().max() > 1e-3
    assert_parity(clean + added, recorded["dacvae.marked"])
    other = watermark(clean, 1 - recorded["dacvae.message"])
    assert (other - added).abs().max() > 1e-5


@torch.no_grad()
def test_fixed_message_marks_and_no_message_is_clean() -> None:
    """The watermark's layers stand in for by a sum of the message: what decode does with them is tested here."""

    class Stand(torch.nn.Module):
        def forward(self, sound: Tensor, message: Tensor) -> Tensor:
            assert sound.shape[-1] % 8 == 0
            return 0.01 * message.sum() * torch.ones_like(sound)

    codec = DacVAE(SMALL)
    latent = torch.randn(1, 3, 4)
    clean = codec.decode(latent, 30)
    codec.watermark = Stand()
    codec.config = replace(SMALL, watermark=(1,) * 3 + (0,) * 13)
    assert_parity(codec.decode(latent, 30), clean + 0.03, 1e-6)
    assert_parity(codec.mark(clean, torch.ones(1, 16)), clean + 0.16, 1e-6)
    with pytest.raises(UserError, match="piece by piece"):
        codec.decode_stream(latent)
    with pytest.raises(UserError, match="no watermark layers"):
        DacVAE(FRAMED).mark(clean)
    with pytest.raises(UserError, match="16 bits"):
        DacVAEConfig(**{**SMALL.to_dict(), "watermark": (1, 0)})


@pytest.mark.parametrize("config", [SMALL, FRAMED], ids=["samples", "frames"])
@torch.no_grad()
def test_pieces_equal_the_whole(config: DacVAEConfig) -> None:
    codec = fill_codec(config)
    assert max(codec.encoder_reach, codec.decoder_reach) < 45
    frames = 160
    sound = torch.rand(2, 1, frames * codec.config.hop - 3) - 0.5
    whole = codec.encode(sound, tile=None)
    assert_parity(codec.encode(sound, tile=25), whole, 1e-6)
    out = codec.decode(whole, sound.shape[-1], tile=None)
    assert out.shape == sound.shape
    assert_parity(codec.decode(whole, sound.shape[-1], tile=25), out, 5e-5)
    pieces = list(codec.decode_stream(whole, tile=25))
    assert len(pieces) == 7
    assert_parity(torch.cat(pieces, -1)[..., : sound.shape[-1]], out, 5e-5)
    # The reach is needed: with less around the pieces, seams are heard.
    short = type("Short", (DacVAE,), {"decoder_reach": 1})
    codec.__class__ = short
    assert (codec.decode(whole, sound.shape[-1], tile=25) - out).abs().max() > 1e-3


def fill_codec(config: DacVAEConfig) -> DacVAE:
    """A codec whose every weight is at work."""
    codec = DacVAE(config)
    state = formula_weights({n: tuple(v.shape) for n, v in codec.state_dict().items()})
    codec.load_state_dict({**state, "spec.mean": torch.full((3,), 0.3), "spec.std": torch.full((3,), 2.0)})
    return codec.eval()


@torch.no_grad()
def test_any_length_and_channels_as_a_batch() -> None:
    codec = fill_codec(FRAMED)
    hop = codec.config.hop  # 24
    for samples in (1, 5, hop - 1, hop, hop + 1, 5 * hop + 7):
        sound = torch.rand(1, 1, samples) - 0.5
        latent = codec.encode(sound)
        assert latent.shape == (1, 3, -(-samples // hop))
        assert codec.decode(latent, samples).shape == sound.shape
        assert codec.decode(latent).shape[-1] == latent.shape[-1] * hop
        assert codec(sound).sound.shape == sound.shape
    sound = torch.rand(1, 1, hop + 5)
    assert torch.equal(codec.padded(sound)[0, 0, hop + 5 :], sound[0, 0, 5 + hop - 20 : hop + 4].flip(0))
    assert not codec.padded(torch.rand(1, 1, 3))[..., 3:].any()  # too short to mirror
    stereo = torch.rand(2, 2, 100) - 0.5
    both = codec.encode(stereo.flatten(0, 1)[:, None]).unflatten(0, (2, 2))
    assert_parity(both[1, 0], codec.encode(stereo[1:, :1])[0], 1e-5)
    with pytest.raises(UserError, match="mono"):
        codec.encode(stereo)
    with pytest.raises(UserError, match="49 to 72 samples"):
        codec.decode(torch.zeros(1, 3, 3), 73)
    with pytest.raises(UserError, match="take the codec that made it"):
        codec.decode(torch.zeros(1, 4, 3))
    with pytest.raises(UserError, match="at least 1"):
        codec.decode(torch.zeros(1, 3, 300), tile=0)


@torch.no_grad()
def test_normalised_latent_and_its_statistics() -> None:
    codec = DacVAE(FRAMED)
    sounds = torch.randn(4, 1, 50 * codec.config.hop, generator=torch.Generator().manual_seed(0))
    codec.fit_statistics([sounds[:2], sounds[2:]])
    latent = codec.encode(sounds).transpose(0, 1).flatten(1)
    assert_parity(latent.mean(1), torch.zeros(3), 1e-4)
    assert_parity(latent.std(1), torch.ones(3), 1e-4)
    drawn = codec(sounds, torch.Generator().manual_seed(1)).latent
    assert torch.equal(drawn, codec(sounds, torch.Generator().manual_seed(1)).latent)
    assert (drawn - codec(sounds, sample=False).latent).std() > 0.1


def test_mdct_frames_lose_nothing() -> None:
    size = 8
    conv = NormedConv1d(1, size, 2 * size, size)
    back = NormedConv1d(size, 1, 2 * size, size, transposed=True)
    conv.set_kernels(mdct(size))
    back.set_kernels(mdct(size))
    sound = torch.randn(1, 1, 20 * size)
    with torch.no_grad():
        inner = slice(size // 2, -size // 2)  # at the ends half a frame has no partner
        assert_parity(back(conv(sound))[..., inner], sound[..., inner], 1e-5)
    codec = DacVAE(NANO)
    assert_parity(codec.encoder.block[0].kernels().detach()[:40], mdct(40), 1e-6)


def test_folding_and_files(tmp_path: Path) -> None:
    codec = fill_codec(FRAMED)
    folded = codec.folded()
    assert not folded.config.weight_norm
    assert codec.config.weight_norm
    assert not any("weight_g" in name for name in folded.state_dict())
    sound = torch.rand(1, 1, 240) - 0.5
    with torch.no_grad():
        assert_parity(folded.encode(sound), codec.encode(sound), 1e-6)
    for one in (codec, folded):
        save_codec(one, tmp_path / "codec.safetensors")
        again = load_codec(tmp_path / "codec.safetensors")
        assert isinstance(again, DacVAE)
        assert again.config == one.config
        with torch.no_grad():
            assert torch.equal(again.encode(sound), one.encode(sound))
    with pytest.raises(UserError, match="weight_norm=True"):
        load_dacvae(folded, {})
    torch.save({"state_dict": formula_weights(_published_shapes(SMALL))}, tmp_path / "weights.pth")
    read = read_dacvae(tmp_path / "weights.pth", SMALL)
    assert read.decode(torch.zeros(1, 3, 2)).shape == (1, 1, 16)


def test_init_weights_sets_everything() -> None:
    with torch.device("meta"):
        codec = DacVAE(FRAMED)
    codec.to_empty(device="cpu")
    for tensor in [*codec.parameters(), *codec.buffers()]:
        tensor.data.fill_(float("nan"))
    codec.init_weights()
    assert all(bool(t.isfinite().all()) for t in [*codec.parameters(), *codec.buffers()])


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="nano"):
        DacVAEConfig.preset("nanno")
    with pytest.raises(ValueError, match="one width more"):
        DacVAEConfig(**{**SMALL.to_dict(), "rates": (2,)})
    with pytest.raises(ValueError, match="as many channels"):
        DacVAEConfig(**{**FRAMED.to_dict(), "frame": 16})
    assert DacVAEConfig.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL
