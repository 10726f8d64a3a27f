"""A released file that is not here: the error says whose it is, under which licence and where it is offered."""

from __future__ import annotations

import importlib

import pytest

from kinema.errors import UserError


@pytest.mark.parametrize(
    ("room", "name"),
    [
        ("maws", "vit_b16_maws"),
        ("omnimae", "vit_b_pretrain"),
        ("omnivore", "swin_b"),
        ("swag", "regnety_16gf_in1k"),
    ],
)
def test_a_missing_file_is_told_where_to_get(room, name, tmp_path):
    weights = importlib.import_module(f"kinema.systems.{room}.weights")
    known = weights.checkpoint(name)
    with pytest.raises(UserError, match="no weight file") as caught:
        weights.load(tmp_path / "none.torch", name)
    assert known.address in str(caught.value)
    assert known.licence in str(caught.value)
