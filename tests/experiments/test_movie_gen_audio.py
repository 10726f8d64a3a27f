"""Every experiment on sound runs from its command to a result and a plot, and its measures are right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "movie_gen_audio"


@pytest.mark.parametrize("name", ["conditioning", "windows", "infilling", "quality"])
def test_quick_run_writes_figures_and_a_plot(name, quick):
    quick(name)


def test_a_cut_is_a_seam_and_steady_noise_has_none(experiment):
    measures = experiment("measures")
    generator = torch.Generator().manual_seed(0)
    steady = 0.1 * torch.randn(96000, generator=generator)
    cut = steady.clone()
    cut[48000:] *= 0.1
    assert measures.seam(steady, [1.0]) == pytest.approx(1.0, abs=0.35)
    assert measures.seam(cut, [1.0]) > 4
    assert measures.seam(cut, [0.5]) < 1.5


def test_levels_by_hand(experiment):
    measures = experiment("measures")
    time = torch.arange(48000, dtype=torch.float64) / 48000
    low, high = (torch.sin(2 * math.pi * hertz * time) for hertz in (1000.0, 9000.0))
    assert measures.loudness(0.1 * low) == pytest.approx(-20 - 10 * math.log10(2), abs=0.01)
    assert measures.brightness(low + 0.1 * high) == pytest.approx(10 * math.log10(0.01 / 1.01), abs=0.02)
    burst = 0.01 * low
    burst[24000:26400] = low[24000:26400]
    assert measures.contrast(burst) == pytest.approx(40.0, abs=0.3)
    assert measures.contrast(low) == pytest.approx(0.0, abs=0.1)
