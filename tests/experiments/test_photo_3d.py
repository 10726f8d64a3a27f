"""Every experiment on 3D photos runs from its command to a result and a plot."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("numba")

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "photo_3d"


@pytest.mark.parametrize("name", ["depth_training"])
def test_quick_run_writes_figures_and_a_plot(name, quick):
    quick(name)
