"""Settings become plain values and come back, and what does not exist is refused by its closest names."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from kinema.errors import UserError
from kinema.settings import known_settings, named_preset, plain_settings


@dataclass(frozen=True, kw_only=True)
class Inner:
    strides: tuple[int, ...] = (2, 2)


@dataclass(frozen=True, kw_only=True)
class Outer:
    width: int
    depth: int
    rate: float = 1e-5
    inner: Inner = Inner()
    names: list[str] = field(default_factory=list)


def test_plain_values_are_what_json_gives_back() -> None:
    plain = plain_settings(Outer(width=3, depth=2, rate=0.1 + 0.2))
    assert plain == json.loads(json.dumps(plain))
    assert plain["inner"] == {"strides": [2, 2]}
    assert plain["rate"] == 0.1 + 0.2
    assert list(plain) == ["width", "depth", "rate", "inner", "names"]


def test_known_values_pass_and_others_are_named() -> None:
    values: dict[str, Any] = {"width": 3, "depth": 2}
    assert Outer(**known_settings(Outer, values)) == Outer(width=3, depth=2)
    with pytest.raises(UserError, match=r"Outer has no setting 'dpeth'; the closest are depth, \w+, \w+$"):
        known_settings(Outer, {**values, "dpeth": 1})
    with pytest.raises(UserError, match=r"^Outer needs width, depth as well$"):
        known_settings(Outer, {"rate": 1.0})


def test_presets_are_found_by_their_exact_name() -> None:
    presets = {"nano": 1, "1b": 2, "30b": 3, "13b": 4}
    assert named_preset(presets, "30b", "a network") == 3
    with pytest.raises(
        UserError, match=r"^there is no preset '30B' of a network; the closest are 30b, 13b, "
    ):
        named_preset(presets, "30B", "a network")


def test_they_need_no_torch() -> None:
    subprocess.run(
        [sys.executable, "-c", "import kinema.settings, sys; assert 'torch' not in sys.modules"], check=True
    )
