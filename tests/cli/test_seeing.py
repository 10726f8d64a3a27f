"""`kinema classify`, `embed` and `search` as a user calls them, with a tiny network in place of a real one."""

from __future__ import annotations

import numpy as np
import pytest

from kinema import hub
from kinema.cli import seeing
from kinema.errors import UserError
from kinema.media import Video
from tests.vision.tiny import picture, tiny


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seeing, "open_model", lambda *given: tiny())
    picture("red.png")
    picture("green.png", (0, 255, 0))


def test_classes_of_one_file_and_of_several(kinema):
    run = kinema("classify", "red.png", "--top", "2")
    assert [line.split()[-1] for line in run.out.splitlines()] == ["red", "green"]
    document = kinema("classify", "red.png", "green.png", "--json").document
    assert [one["classes"][0]["label"] for one in document["files"]] == ["red", "green"]
    assert document["files"][0]["kind"] == "image"


def test_a_clip_is_classified(kinema):
    frames = np.zeros((6, 16, 16, 3), np.uint8)
    frames[..., 2] = 255
    Video(frames, 8.0).write("blue.mp4")
    document = kinema("classify", "blue.mp4", "--json").document
    assert (document["files"][0]["kind"], document["files"][0]["classes"][0]["label"]) == ("video", "blue")


def test_names_from_a_file(kinema, tmp_path):
    (tmp_path / "names.txt").write_text("rouge\nvert\nbleu\n", encoding="utf-8")
    assert "vert" in kinema("classify", "green.png", "--labels", "names.txt", "-k", "1").out
    (tmp_path / "names.txt").write_text("rouge\nvert\n")
    run = kinema("classify", "green.png", "--labels", "names.txt")
    assert "there are 2 names and tiny has 3 classes" in run.err


def test_one_bad_file_among_several_is_told_and_the_others_are_done(kinema, tmp_path):
    (tmp_path / "bad.png").write_text("x")
    run = kinema("classify", "red.png", "bad.png")
    assert run.code == 1
    assert "red" in run.out
    assert "bad.png is not a media file" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["classify", "nothing.png"], "nothing.png"),
        (["classify", "red.png", "--top", "0"], "--top is 0"),
        (["classify", "red.png", "green.png", "--depth", "d.npy"], "belongs to one picture"),
        (["classify", "."], "is a folder"),
        (["embed", "red.png", "-o", "e.txt"], "cannot hold this result"),
        (["embed", "red.png", "-o", "e.npy", "--dense"], "several sizes"),
        (["embed", "."], None),
        (["search", "nothing", "red.png"], "no folder 'nothing'"),
        (["search", ".", "nothing.png"], "nothing.png"),
        (["search", ".", "red.png", "--index", "i.txt"], "cannot hold this result"),
        (["search", ".", "red.png", "-k", "0"], "--top is 0"),
    ],
)
def test_bad_input_is_one_sentence(kinema, words, sentence):
    run = kinema(*words)
    assert run.code == (2 if sentence else 0)
    if sentence:
        assert sentence in run.err
        assert run.err.count("\n") == 1


def test_vectors_are_written_and_not_replaced(kinema):
    kinema("embed", "red.png", "green.png", "-o", "e.npz", "--normalise")
    found = np.load("e.npz")
    np.testing.assert_allclose(found["features"], [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    assert found["names"].tolist() == ["red.png", "green.png"]
    assert str(found["model"]) == "tiny"
    assert "exists already" in kinema("embed", "red.png", "-o", "e.npz").err
    kinema("embed", "red.png", "-o", "e.npz", "--overwrite", "--dense")
    assert np.load("e.npz")["0"].shape == (3, 8, 8)


def test_search_orders_a_folder_keeps_an_index_and_draws_a_sheet(kinema, tmp_path):
    (tmp_path / "in").mkdir()
    picture("in/dark.png", (200, 20, 0))
    picture("in/blue.png", (0, 0, 255))
    words = ("search", "in", "red.png", "--index", "i.safetensors")
    document = kinema(*words, "--json", "--sheet", "s.png").document
    assert [one["file"] for one in document["results"]] == ["in/dark.png", "in/blue.png"]
    assert document["results"][0]["similarity"] > 0.99
    assert (tmp_path / "s.png").stat().st_size > 500
    before = (tmp_path / "i.safetensors").read_bytes()
    assert kinema(*words).out.splitlines()[0].endswith("in/dark.png")
    assert (tmp_path / "i.safetensors").read_bytes() == before
    (tmp_path / "other.safetensors").write_bytes(b"precious")
    assert "damaged" in kinema("search", "in", "red.png", "--index", "other.safetensors").err
    assert (tmp_path / "other.safetensors").read_bytes() == b"precious"


def test_the_query_is_not_its_own_neighbour(kinema):
    document = kinema("search", ".", "red.png", "--json").document
    assert [one["file"] for one in document["results"]] == ["green.png"]


def test_models_that_do_not_see_are_refused(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UserError, match="does not look at pictures in this way"):
        seeing.open_model("movie-gen-video-nano", "nano", "cpu")
    with pytest.raises(UserError, match="offered under"):
        hub.load("swag/vit_b16")


def test_info_lists_what_was_published(kinema):
    assert "swag/vit_b16_in1k, swag/vit_b16_in1k_tv" in kinema("info", "swag").out
    assert kinema("info", "swag/vit_b16").out == kinema("info", "swag").out
    assert "published" not in kinema("info", "early-conv").out.replace("never published", "")
