"""`kinema eval`: what reaches the bench, and its report on the screen, as JSON and in a file."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kinema import hub
from kinema.cli import making

REPORT = {"num_prompts": 4, "steps": None, "splits": {"val": {"object": 0.876543, "judge": [0.9, 1.0]}}}


@pytest.fixture
def bench(monkeypatch):
    """A bench that answers at once and remembers what it was asked."""
    asked: dict[str, Any] = {}

    def evaluate(pipeline: Any, **settings: Any) -> dict[str, Any]:
        asked.update(settings, pipeline=pipeline)
        return REPORT

    monkeypatch.setattr(hub, "load", lambda *given: given)
    monkeypatch.setattr(hub, "resolve", lambda path: evaluate)
    return asked


def test_report_on_the_screen_and_in_a_file(kinema, bench):
    answer = kinema(
        "eval", "movie-gen-video-nano", "--num-prompts", "4", "--seed", "3", "--out", "reports/a.json"
    )
    assert (answer.code, answer.err) == (0, "")
    assert "    object  0.8765" in answer.out
    assert json.loads(Path("reports/a.json").read_text()) == REPORT
    assert (bench["num_prompts"], bench["seed"]) == (4, 3)
    assert bench["pipeline"] == ("movie-gen-video-nano", "nano", "auto")


def test_settings_of_the_sampler_reach_the_bench(kinema, bench):
    words = ("--steps", "8", "--guidance-scale", "2.5")
    assert kinema("eval", "movie-gen-video-nano", *words).code == 0
    assert (bench["steps"], bench["guidance_scale"]) == (8, 2.5)


def test_long_clips_have_a_bench_of_their_own(kinema, bench, monkeypatch):
    asked = []
    evaluate = hub.resolve("any:bench")
    monkeypatch.setattr(hub, "resolve", lambda path: asked.append(path) or evaluate)
    assert kinema("eval", "movie-gen-video-nano", "--long").code == 0
    assert asked == ["kinema.eval.seams:evaluate_long"]
    assert bench["num_prompts"] == 32
    entry = dataclasses.replace(hub.MODELS["movie-gen-video-nano"], long_evaluator=None)
    monkeypatch.setitem(hub.MODELS, "movie-gen-video-nano", entry)
    answer = kinema("eval", "movie-gen-video-nano", "--long")
    assert answer.code == 2
    assert "has no bench for long clips yet" in answer.err


def test_what_cannot_be_compiled_says_so(kinema, bench):
    answer = kinema("eval", "movie-gen-video-nano", "--compile")
    assert answer.code == 2
    assert "leave out --compile" in answer.err


def test_report_as_json(kinema, bench):
    assert kinema("eval", "movie-gen-video-nano", "--json").document == REPORT
    assert bench["num_prompts"] == 512


def test_the_bench_of_sound_has_its_own_number_of_clips(kinema, bench):
    assert kinema("eval", "movie-gen-audio", "--seed", "2").code == 0
    assert (bench["num_prompts"], bench["seed"]) == (256, 2)
    assert bench["pipeline"] == ("movie-gen-audio", "nano", "auto")


def test_a_report_is_not_overwritten(kinema, bench):
    Path("a.json").write_text("{}")
    assert kinema("eval", "movie-gen-video-nano", "--out", "a.json").code == 2
    assert bench == {}
    assert kinema("eval", "movie-gen-video-nano", "--out", "a.json", "--overwrite").code == 0


def test_a_counter_shows_only_where_somebody_looks(monkeypatch, capsys):
    assert making.counter("step ", 9, shown=True) is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert making.counter("step ", 9, shown=False) is None
    count = making.counter("step ", 9, shown=True)
    count(3, object())  # a solver: the second is its state
    count(4, 20)  # a bench: the second is the total
    making.end_counter(count)
    assert [part.removeprefix("\x1b[K") for part in capsys.readouterr().err.split("\r")] == [
        "", "step 3 of 9", "step 4 of 20", "",
    ]  # fmt: skip
