"""`kinema generate`: files, names, seeds, settings, what travels inside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from kinema.cli import outputs
from kinema.media import Image, Video, read_provenance
from kinema.media.video import EXTENSIONS


def test_one_prompt_one_file(kinema, pipeline):
    answer = kinema("generate", "a red fox bounces", "--seed", "42", "-o", "fox.mp4")
    assert (answer.code, answer.err) == (0, "")
    assert "wrote fox.mp4 (4 frames of 16x16, seed 42" in answer.out
    assert Video.read("fox.mp4").frames.shape == (4, 16, 16, 3)
    provenance = read_provenance("fox.mp4")
    assert provenance.prompt == "a red fox bounces"
    assert (provenance.seed, provenance.model) == (42, "movie-gen-video-nano")
    assert provenance.weights_hash == "0123456789ab"
    assert provenance.settings["num_frames"] == 4
    assert sorted(path.name for path in Path().iterdir()) == ["fox.mp4"]


def test_the_default_name_does_not_come_from_the_prompt(kinema, pipeline):
    assert kinema("generate", 'a "quoted"/../fox\n🦊', "--seed", "42").code == 0
    files = sorted(str(path) for path in Path("outputs").rglob("*.*") if path.is_file())
    pattern = r"outputs/\d{4}-\d\d-\d\d/\d{6}_movie-gen-video-nano/00000_seed42"
    assert [bool(re.fullmatch(pattern + end, name)) for end, name in zip((r"\.json", r"\.mp4"), files)] == [
        True,
        True,
    ]
    sidecar = json.loads(Path(files[0]).read_text())
    assert sidecar["prompt"] == 'a "quoted"/../fox\n🦊'
    assert (sidecar["seed"], sidecar["notices"]) == (42, [])


def test_default_folders_of_one_second_do_not_meet(tmp_path, monkeypatch):
    from datetime import datetime

    monkeypatch.chdir(tmp_path)
    now = datetime(2026, 1, 2, 3, 4, 5)
    first = outputs.default_folder("nano", now)
    assert first == Path("outputs/2026-01-02/030405_nano")
    first.mkdir(parents=True)
    assert outputs.default_folder("nano", now) == Path("outputs/2026-01-02/030405_nano_2")


def test_settings_reach_the_model_and_dashes_are_underscores(kinema, pipeline):
    dashes = (
        "--steps 5 --guidance-scale 2.5 --height 8 --width 10 --num-frames 3 --fps 12 --negative-prompt blur"
    )
    assert kinema("generate", "a cat", "--seed", "1", "-o", "a.mp4", *dashes.split()).code == 0
    underscores = dashes.replace("-scale", "_scale").replace("num-", "num_").replace("negative-", "negative_")
    assert kinema("generate", "a cat", "--seed", "1", "-o", "b.mp4", *underscores.split()).code == 0
    assert pipeline.calls[0] == pipeline.calls[1]
    assert pipeline.calls[0]["settings"] == (5, 2.5, 8, 10, 3, 12.0, "blur")
    assert Video.read("a.mp4").frames.shape == (3, 8, 10, 3)


def test_what_is_not_asked_is_left_to_the_model(kinema, pipeline):
    kinema("generate", "a cat", "--seed", "1", "-o", "a.mp4")
    assert pipeline.calls[0]["settings"] == (3, 1.0, 16, 16, 4, 8.0, "")


def test_samples_take_seeds_in_a_row(kinema, pipeline):
    answer = kinema(
        "generate", "a cat", "a dog", "--seed", "7", "--num-samples", "2", "--output-dir", "out", "--json"
    )
    assert [clip["seed"] for clip in answer.document["clips"]] == [7, 8, 7, 8]
    names = [Path(clip["file"]).name for clip in answer.document["clips"]]
    assert names == ["00000_seed7.mp4", "00001_seed8.mp4", "00002_seed7.mp4", "00003_seed8.mp4"]


def test_a_random_seed_is_drawn_once_and_recorded(kinema, pipeline):
    answer = kinema("generate", "a cat", "--num-samples", "3", "--output-dir", "out", "--json")
    seeds = [clip["seed"] for clip in answer.document["clips"]]
    assert len(set(seeds)) == 3
    assert min(seeds) >= 0
    assert [read_provenance(clip["file"]).seed for clip in answer.document["clips"]] == seeds
    assert [call["seed"] for call in pipeline.calls] == seeds


def test_notices_are_passed_on(kinema, pipeline):
    spoken = kinema("generate", "a Dragonfly or dragonfly", "-o", "a.mp4")
    assert "  note: nano does not know 'dragonfly'; it took 'butterfly'" in spoken.out
    listed = kinema("generate", "a dragonfly", "-o", "b.mp4", "--json").document["clips"][0]
    assert listed["notices"] == ["nano does not know 'dragonfly'; it took 'butterfly'"]
    assert listed["prompt_used"] == "a dragonfly"


def test_no_metadata_leaves_nothing(kinema, pipeline):
    assert kinema("generate", "a secret", "--output-dir", "out", "--seed", "3", "--no-metadata").code == 0
    (file,) = Path("out").iterdir()
    assert read_provenance(file) is None
    assert b"secret" not in file.read_bytes()


def test_overwrite_replaces_clip_and_sidecar(kinema, pipeline):
    command = ["generate", "a cat", "--seed", "1", "--output-dir", "out"]
    assert kinema(*command).code == 0
    before = Path("out/00000_seed1.mp4").read_bytes()
    again = kinema(*command, "--steps", "9")
    assert again.code == 2
    assert "exists already: pass --overwrite" in again.err
    assert Path("out/00000_seed1.mp4").read_bytes() == before
    assert kinema(*command, "--steps", "9", "--overwrite").code == 0
    assert Path("out/00000_seed1.mp4").read_bytes() != before
    assert json.loads(Path("out/00000_seed1.json").read_text())["settings"]["steps"] == 9


def test_contact_sheet(kinema, pipeline):
    answer = kinema("generate", "a cat", "a dog", "--output-dir", "out", "--contact-sheet", "sheets/all.png")
    assert "wrote sheets/all.png" in answer.out
    assert Image.read("sheets/all.png").pixels.shape[2] == 3


@pytest.mark.parametrize("suffix", outputs.VIDEO_SUFFIXES)
def test_every_kind_of_video_file(kinema, pipeline, suffix):
    assert kinema("generate", "a cat", "--seed", "1", "-o", f"cat{suffix}").code == 0
    assert read_provenance(f"cat{suffix}").seed == 1


def test_the_kinds_are_those_that_media_writes():
    assert outputs.VIDEO_SUFFIXES == EXTENSIONS


PROMPT_FILES = {
    "list.txt": "a cat\n\n  a dog  \n",
    "table.csv": '\ufeffprompt,seed,num_frames,id\na cat,5,,first\n"a dog, running",,3,\n',
    "rows.jsonl": '{"prompt": "a cat", "seed": 5, "id": "first"}\n{"prompt": "a dog, running", "num_frames": 3.0}\n',
}


def test_prompts_from_txt(kinema, pipeline):
    Path("list.txt").write_text(PROMPT_FILES["list.txt"])
    assert kinema("generate", "--prompts-file", "list.txt", "--output-dir", "out", "--seed", "1").code == 0
    assert [call["prompt"] for call in pipeline.calls] == ["a cat", "a dog"]


@pytest.mark.parametrize("name", ["table.csv", "rows.jsonl"])
def test_rows_bring_settings_and_flags_fill_the_rest(kinema, pipeline, name):
    Path(name).write_text(PROMPT_FILES[name], encoding="utf-8")
    assert (
        kinema("generate", "--prompts-file", name, "--output-dir", "out", "--seed", "9", "--steps", "2").code
        == 0
    )
    assert [(call["prompt"], call["seed"]) for call in pipeline.calls] == [
        ("a cat", 5),
        ("a dog, running", 9),
    ]
    assert [call["settings"][4] for call in pipeline.calls] == [4, 3]
    assert {call["settings"][0] for call in pipeline.calls} == {2}
    assert sorted(path.name for path in Path("out").glob("*.mp4")) == ["00001_seed9.mp4", "first_seed5.mp4"]


def test_a_clip_does_not_depend_on_its_company(kinema, pipeline):
    kinema("generate", "a cat", "--seed", "4", "-o", "alone.mp4")
    kinema("generate", "a dog", "a cat", "--seed", "4", "--output-dir", "out")
    alone, beside = Video.read("alone.mp4"), Video.read("out/00001_seed4.mp4")
    assert np.array_equal(alone.frames, beside.frames)


def test_a_full_disk_is_one_sentence(kinema, pipeline, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "out/00000_seed1.mp4")

    monkeypatch.setattr(Video, "write", full)
    answer = kinema("generate", "a cat", "--seed", "1", "--output-dir", "out")
    assert answer.code == 2
    assert (
        answer.err == "kinema: 'out/00000_seed1.mp4': the disk is full: free some space or write elsewhere\n"
    )


def test_too_much_for_the_memory_is_one_sentence(kinema, pipeline, monkeypatch):
    def huge(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(pipeline, "generate", huge, raising=False)
    answer = kinema("generate", "a cat", "-o", "a.mp4")
    assert answer.code == 2
    assert "not enough memory" in answer.err


def test_a_bug_keeps_its_traceback(kinema, pipeline, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(pipeline, "generate", broken, raising=False)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        kinema("generate", "a cat", "-o", "a.mp4")


def test_stopping_is_quiet(kinema, pipeline, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "generate", stop, raising=False)
    answer = kinema("generate", "a cat", "-o", "a.mp4")
    assert (answer.code, "Traceback" in answer.err) == (130, False)
