"""The mel front end against torchaudio's Kaldi (recorded) and the feature extractors of transformers (live)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinema.nn import MelSettings, log_mel, mel_spectrum, whisper_scale
from kinema.nn.mel import KALDI, MEL_PRESETS, hertz_to_mel, mel_filters, mel_to_hertz
from tests.parity import assert_parity, peer

RECORDED = Path(__file__).with_name("kaldi.safetensors")  # by make_kaldi.py


def tones(samples: int = 6000, rate: int = 16000) -> Tensor:
    """A chord in noise that keeps every band above what float32 rounds off, (samples,)."""
    time = torch.arange(samples, dtype=torch.float64) / rate
    noise = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chord = sum(torch.sin(2 * torch.pi * hertz * time) for hertz in (220.0, 1330.0, 5100.0))
    return (0.2 * chord + noise).float()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("kaldi", MelSettings.preset("kaldi")),
        ("imagebind", MelSettings.preset("imagebind")),
        ("whole", replace(KALDI, bands=40, shape="hamming_symmetric", edges="kaldi", high=7600.0)),
        ("magnitude", replace(KALDI, bands=23, shape="rectangular", power=1.0, log="none")),
    ],
)
def test_kaldi_settings_equal_torchaudio(name: str, settings: MelSettings) -> None:
    recorded = load_file(RECORDED)
    ours = log_mel(recorded["sound"], settings)
    assert ours.shape[-1] == settings.frames(2000)
    # torchaudio makes its filters in float32, which tells in the narrowest of 128 bands: 1.1e-4 measured there.
    assert_parity(ours, recorded[name], 1.5e-4)
    assert (ours - recorded[name]).abs().mean() < 1e-5


def test_ast_and_seamless_extractors_of_transformers_agree() -> None:
    transformers = peer("transformers")
    sound = tones()
    ast = transformers.ASTFeatureExtractor(max_length=32, do_normalize=False)
    # The same settings. The peer computes in float64; so do we here, since a weak band beside a strong one tells.
    ours = log_mel(sound.double(), MelSettings.preset("imagebind"))
    theirs = torch.from_numpy(np.asarray(ast(sound.numpy(), sampling_rate=16000)["input_values"][0]))
    assert_parity(ours.T[:32], theirs[:32], 1e-4)
    seamless = transformers.SeamlessM4TFeatureExtractor()
    theirs = torch.from_numpy(seamless._extract_fbank_features(sound.numpy()))
    assert_parity(log_mel(sound.double(), MelSettings.preset("w2v_bert")).T, theirs, 1e-4)


@pytest.mark.parametrize(("name", "bands"), [("whisper", 80), ("whisper_v3", 128)])
def test_whisper_extractor_of_transformers_agrees(name: str, bands: int) -> None:
    transformers = peer("transformers")
    extractor = transformers.WhisperFeatureExtractor(feature_size=bands)
    sound = tones()
    theirs = torch.from_numpy(extractor._torch_extract_fbank_features(sound.numpy()))
    assert_parity(whisper_scale(log_mel(sound, MelSettings.preset(name))), theirs, 1e-5)


# Without Slaney's scale and triangles over mel: there the peer takes the logarithm of zero hertz.
@pytest.mark.parametrize(("scale", "triangles"), [("htk", "mel"), ("htk", "hertz"), ("slaney", "hertz")])
@pytest.mark.parametrize("norm", ["slaney", "none"])
def test_filters_equal_those_of_transformers(scale, triangles, norm) -> None:
    peer("transformers")
    from transformers.audio_utils import mel_filter_bank

    settings = MelSettings(
        rate=24000, fft=1024, bands=30, low=60.0, high=9000.0, scale=scale, triangles=triangles, norm=norm
    )
    theirs = mel_filter_bank(
        513, 30, 60.0, 9000.0, 24000, None if norm == "none" else norm, scale, triangles == "mel"
    )
    assert_parity(mel_filters(settings), torch.from_numpy(theirs.T).float(), 1e-6)


def test_centred_frames_equal_torch_stft() -> None:
    settings = MelSettings(rate=48000, window=300, fft=512, hop=64, bands=20, power=1.0, log="none")
    sound = tones(3000)
    window = torch.hann_window(300)
    for edges, mode in (("reflect", "reflect"), ("zeros", "constant")):
        theirs = torch.stft(sound, 512, 64, 300, window, pad_mode=mode, return_complex=True).abs()
        ours = mel_spectrum(sound, replace(settings, edges=edges))
        if (
            edges == "reflect"
        ):  # torch pads by half the transform, we by half the window: the middle is the same
            theirs, ours = theirs[:, 4:-4], ours[:, 4:-4]
        assert_parity(ours, mel_filters(settings) @ theirs, 1e-5)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_mel_scales_invert(scale) -> None:
    hertz = torch.linspace(0, 12000, 500, dtype=torch.float64)
    assert_parity(mel_to_hertz(hertz_to_mel(hertz, scale), scale), hertz, 1e-8)
    assert (hertz_to_mel(hertz, scale).diff() > 0).all()
    assert float(hertz_to_mel(torch.tensor(1000.0), "slaney")) == pytest.approx(15.0)


@pytest.mark.parametrize("name", MEL_PRESETS)
def test_presets_work_on_batches_and_have_gradients(name: str) -> None:
    settings = MelSettings.preset(name)
    sound = torch.stack([tones(), tones().flip(0)]).requires_grad_()
    both = log_mel(sound, settings)
    assert both.shape == (2, settings.bands, settings.frames(6000))
    assert_parity(both[1], log_mel(sound[1], settings), 1e-5)
    both.mean().backward()
    assert sound.grad is not None
    assert sound.grad.isfinite().all()
    assert sound.grad.abs().sum() > 0


def test_a_front_end_first_used_in_inference_mode_can_be_trained_through_later() -> None:
    settings = MelSettings(bands=17, fft=1024)  # of this test alone: the filters are made here
    with torch.inference_mode():
        log_mel(tones(), settings)
    sound = tones().requires_grad_()
    log_mel(sound, settings).sum().backward()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 400"):
        log_mel(torch.zeros(399), KALDI)
    with pytest.raises(ValueError, match="at least 201"):
        log_mel(torch.zeros(200), MelSettings())
    with pytest.raises(ValueError, match="whisper"):
        MelSettings.preset("wisper")
    with pytest.raises(ValueError, match=r"low=0\.0 and high=9000"):
        MelSettings(high=9000)
    with pytest.raises(ValueError, match="window=600"):
        MelSettings(window=600)
