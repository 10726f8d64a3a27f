"""`--set stage.field=value`: a table of texts and what they become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from kinema.errors import UserError
from kinema.train import Stage
from kinema.train.overrides import override, override_stages


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    steps: int = 1
    lr: float = 1e-3
    flag: bool = False
    mode: Literal["a", "b"] = "a"
    level: Literal[1, 2] = 1
    clip: float | None = 1.0
    size: int | Literal["auto"] = "auto"
    betas: tuple[float, float] = (0.9, 0.95)
    shape: tuple[int, ...] = ()
    names: list[str] = field(default_factory=list)
    scales: dict[str, float] = field(default_factory=dict)
    out: Path = Path()
    inner: Inner = Inner()
    call: Callable[[], None] | None = None


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("steps=20", "steps", 20),
        ("steps=1e3", "steps", 1000),
        ("steps=1_000", "steps", 1000),
        ("lr=3e-4", "lr", 3e-4),
        ("lr=1", "lr", 1.0),
        ("flag=true", "flag", True),
        ("flag=No", "flag", False),
        ("mode=b", "mode", "b"),
        ("level=2", "level", 2),
        ("clip=none", "clip", None),
        ("clip=0.5", "clip", 0.5),
        ("size=auto", "size", "auto"),
        ("size=64", "size", 64),
        ("betas=0.8,0.9", "betas", (0.8, 0.9)),
        ("betas=(0.8, 0.9)", "betas", (0.8, 0.9)),
        ("shape=1,2,3", "shape", (1, 2, 3)),
        ("shape=[]", "shape", ()),
        ("names=x, y", "names", ["x", "y"]),
        ("scales=encoder.*:0.1,head:2", "scales", {"encoder.*": 0.1, "head": 2.0}),
        ("out=a/b=c", "out", Path("a/b=c")),
        ("inner.depth=7", "inner", Inner(depth=7)),
    ],
)
def test_values_get_their_annotated_type(assignment: str, name: str, value: Any) -> None:
    got = getattr(override(Settings(), [assignment]), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("stepz=1", "steps"),
        ("steps=1.5", "a whole number"),
        ("steps=many", "a whole number"),
        ("lr=fast", "a number"),
        ("flag=maybe", "true or false"),
        ("mode=c", "one of a, b"),
        ("betas=0.9", "2 values"),
        ("scales=0.1", "name:value"),
        ("steps", "name=value"),
        ("steps.deep=1", "no fields of its own"),
        ("call=print", "cannot be set from the command line"),
        ("inner.dept=1", "depth"),
    ],
)
def test_refusals_are_one_sentence_that_helps(assignment: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        override(Settings(), [assignment])


def test_unknown_names_list_the_closest_three() -> None:
    with pytest.raises(UserError) as caught:
        override(Settings(), ["shap=1"])
    assert str(caught.value).count(",") == 2
    assert "shape" in str(caught.value)


def test_stages_by_name_and_all_of_them(make_stage: Callable[..., Stage]) -> None:
    stages = [make_stage(name="codec"), make_stage(name="text-video")]
    changed = override_stages(stages, ["codec.lr=0.5", "text-video.clip-norm=none", "*.steps=3"])
    assert [stage.steps for stage in changed] == [3, 3]
    assert changed[0].lr == 0.5
    assert changed[1].clip_norm is None
    assert changed[1].model is stages[1].model
    assert [stage.steps for stage in stages] == [12, 12]
    with pytest.raises(UserError, match="codec"):
        override_stages(stages, ["codex.lr=1"])
    with pytest.raises(UserError, match="names no stage"):
        override_stages(stages, ["lr=1"])
    with pytest.raises(UserError, match="cannot be set"):
        override_stages(stages, ["codec.loss=mse"])
