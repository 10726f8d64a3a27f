"""Every experiment on hashtags runs from its command to a result and a plot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "swag"


@pytest.mark.parametrize("name", ["tags_against_labels", "sampling_laws"])
def test_quick_run_writes_figures_and_a_plot(name, quick, monkeypatch):
    monkeypatch.setenv("KINEMA_DATA", "/nonexistent")
    quick(name)


def test_a_long_tail_is_long(experiment):
    laws = experiment("sampling_laws")
    data, ranked = laws.long_tail(0, 120)
    assert len(set(ranked)) == 64
    counts = dict(zip(data.vocabulary.tags, data.vocabulary.counts, strict=True))
    assert len(data) > 120
    assert max(counts, key=lambda tag: counts[tag] if tag == ranked[0].replace(" ", "") else 0)
    row = laws.by_part(torch.tensor([1, 0, 1, 1], dtype=torch.bool), torch.tensor([0, 0, 20, 63]))
    assert row == {"all": pytest.approx(2.5 / 3), "head": 0.5, "middle": 1.0, "tail": 1.0}
