"""Every experiment on early convolutions runs from its command to a result and a plot."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "early_conv"


@pytest.mark.parametrize("name", ["learning_rates", "optimiser_sensitivity", "schedule_length"])
def test_quick_run_writes_figures_and_a_plot(name, quick):
    quick(name)
