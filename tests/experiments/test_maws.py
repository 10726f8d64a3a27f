"""The experiment on pre-pretraining runs from its command to a result and a plot, and what it compares is right."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "maws"


@pytest.mark.parametrize("name", ["pre_pretraining", "locked_image_tuning"])
def test_quick_run_writes_figures_and_a_plot(name, quick, monkeypatch):
    monkeypatch.setenv("KINEMA_DATA", "/nonexistent")
    quick(name)


def test_catching_up_is_a_share_of_the_steps(experiment):
    script = experiment("pre_pretraining")
    falling = [float(200 - k) for k in range(100)]
    faster = [200 - 2.0 * k for k in range(100)]
    found = script.caught_up({"WSP": falling, "MAWS": faster, "never": [500.0] * 100})
    assert found == {"WSP": 0.99, "MAWS": 0.5, "never": 1.0}
    assert script.smooth([2.0] * 80 + [1.0] * 50)[-1] == 1.0
    assert script.smooth([3.0, 1.0]) == [3.0, 2.0]
