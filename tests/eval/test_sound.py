"""SI-SDR against fast_bss_eval (recorded) and in closed form; the mel distance by its identities."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kinema.errors import UserError
from kinema.eval.sound import mel_distance, mel_settings, si_sdr
from tests.parity import assert_parity

RECORDED = Path(__file__).with_name("si_sdr.safetensors")  # by make_si_sdr.py


@pytest.mark.parametrize(("zero_mean", "name"), [(True, "zero_mean"), (False, "as_is")])
def test_si_sdr_equals_fast_bss_eval(zero_mean: bool, name: str) -> None:
    recorded = load_file(RECORDED)
    ours = si_sdr(recorded["estimate"], recorded["reference"], zero_mean)
    assert_parity(ours, recorded[name].float(), 1e-4)


def test_si_sdr_of_orthogonal_noise_is_the_ratio_of_energies() -> None:
    time = torch.arange(1000) / 1000 * 2 * math.pi
    tone, other = torch.sin(5 * time), torch.sin(9 * time)
    assert float(si_sdr(tone + 0.1 * other, tone)) == pytest.approx(20.0, abs=1e-3)
    assert float(si_sdr(-3 * (tone + 0.1 * other) + 7, tone)) == pytest.approx(20.0, abs=1e-3)
    assert si_sdr(torch.zeros(1000), tone) == -math.inf
    assert float(si_sdr(2 * tone, tone)) > 100
    assert math.isnan(float(si_sdr(tone, torch.zeros(1000))))
    assert si_sdr(torch.stack([tone, other]), torch.stack([tone, other])).shape == (2,)


def test_mel_distance_counts_decibels() -> None:
    sound = torch.randn(2, 1, 48000, generator=torch.Generator().manual_seed(0))
    assert mel_distance(sound, sound, 48000).tolist() == [[0.0], [0.0]]
    assert_parity(mel_distance(2 * sound, sound, 48000), torch.full((2, 1), 6.0206), 1e-3)
    assert_parity(mel_distance(-sound, sound, 48000), torch.zeros(2, 1), 1e-4)  # phase is not heard
    faint = sound + 0.01 * sound.flip(-1)
    assert 0 < float(mel_distance(faint, sound, 48000).max()) < 1
    for rate in (16000, 44100, 48000):
        assert mel_settings(rate).window % 2 == 0


def test_refusals() -> None:
    with pytest.raises(UserError, match="expected equal"):
        si_sdr(torch.zeros(3, 5), torch.zeros(3, 6))
    with pytest.raises(UserError, match="needs more than 1025"):
        mel_distance(torch.zeros(1000), torch.zeros(1000), 48000)
