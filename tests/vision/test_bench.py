"""The bench on a network whose features are known: mean colours."""

from __future__ import annotations

import pytest
import torch

from kinema.data import labelled
from kinema.errors import UserError
from kinema.vision.bench import embedded, evaluate
from tests.vision.tiny import tiny


def test_features_are_those_of_files():
    pixels = torch.zeros(20, 3, 8, 8, dtype=torch.uint8)
    pixels[:, 1] = torch.arange(20).view(-1, 1, 1) * 10
    want = torch.zeros(20, 3)
    want[:, 1] = torch.arange(20) * 10 / 255
    torch.testing.assert_close(embedded(tiny(), pixels), want)


def test_a_report_has_plain_numbers_beside_pixels_and_chance(monkeypatch, tmp_path):
    monkeypatch.setattr(labelled, "ROOTS", (tmp_path,))
    monkeypatch.delenv("KINEMA_DATA", raising=False)
    told = []
    report = evaluate(tiny(), 24, progress=lambda done, _: told.append(done))
    assert list(report) == ["Small World, family", "Small World, family of unseen objects"]
    row = report["Small World, family"]
    assert {"linear", "neighbours", "linear, pixels", "most frequent"} <= set(row)
    assert all(0 <= value <= 1 for value in row.values())
    assert told[-1] == 24 + 12 + 12
    assert evaluate(tiny(), 24) == report
    with pytest.raises(UserError, match="does not sample"):
        evaluate(tiny(), 24, steps=3)
