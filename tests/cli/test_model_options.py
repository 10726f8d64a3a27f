"""`--compile`, `--offload`, `--cache`: what a model takes reaches it, what it does not take is one sentence."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any

import pytest

from kinema import hub
from kinema.cli import making
from kinema.errors import UserError
from kinema.media import read_provenance

GENERATORS = [entry for entry in hub.MODELS.values() if entry.makes == "generate"]


@pytest.mark.parametrize("entry", GENERATORS, ids=lambda entry: entry.name)
def test_what_the_table_promises_the_pipeline_has(entry: hub.Entry) -> None:
    builder = hub.resolve(entry.builder)
    pipeline: Any = typing.get_type_hints(builder)["return"]
    assert ("compile" in entry.options) == hasattr(pipeline, "compile")
    assert ("offload" in entry.options) == ("offload" in inspect.signature(builder).parameters)
    taken = inspect.signature(pipeline.generate).parameters
    assert ("cache" in entry.options) == ({"cache", "measure_cache"} <= set(taken))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--offload file", "movie-gen-video-nano takes no --offload: leave it out"),
        ("--cache 0.1", "movie-gen-video-nano takes no --cache: leave it out"),
        ("--cache 0.1 --measure-cache", "takes no --cache"),
        ("--model wan --offload disk", "--offload is 'disk' and must be cpu or file"),
        ("--model wan --cache 1.5", "--cache is 1.5 and must lie between 0 and 1"),
        ("--model wan --measure-cache", "give --cache as well"),
        ("--model wan --compile --offload cpu", "use one of the two"),
    ],
)
def test_what_does_not_fit_is_one_sentence(kinema, no_pipeline, words: str, sentence: str) -> None:
    answer = kinema("generate", "a cat", *words.split(), "-o", "a.mp4")
    assert (answer.code, answer.out) == (2, "")
    assert sentence in answer.err
    assert answer.err.count("\n") == 1


def test_compile_reaches_the_pipeline_and_the_file(kinema, pipeline, monkeypatch, tmp_path: Path) -> None:
    compiled: list[str] = []
    monkeypatch.undo()  # the true `open_model`, with the tiny pipeline behind it
    monkeypatch.chdir(tmp_path)
    pipeline.compile = lambda: compiled.append("yes")
    monkeypatch.setattr(hub, "load", lambda *given, **options: pipeline)
    assert kinema("generate", "a cat", "--seed", "1", "--no-sound", "-o", "plain.mp4").code == 0
    assert compiled == []
    assert kinema("generate", "a cat", "--seed", "1", "--no-sound", "--compile", "-o", "a.mp4").code == 0
    assert compiled == ["yes"]
    assert read_provenance("a.mp4").settings["compile"] is True
    assert kinema("rerun", "a.mp4").code == 0
    assert compiled == ["yes", "yes"]


def test_options_that_are_not_given_are_not_passed() -> None:
    assert making.check_options("wan", compile=False, offload=None, cache=None, measure_cache=False) == {}
    assert making.check_options("wan", compile=True, cache=0.2) == {"compile": True, "cache": 0.2}
    with pytest.raises(UserError, match="no model 'won'"):
        making.check_options("won")
