"""What users get wrong: one sentence on standard error, exit code 2, no traceback, and no model loaded for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

LONG = "a" * 2001
FILES = {
    "binary.txt": b"a\x00b\n",
    "latin.txt": "caf\u00e9".encode("latin-1"),
    "empty.txt": b"\n \n",
    "no_prompt.csv": b"seed\n3\n",
    "bad_seed.csv": b"prompt,seed\na cat,three\n",
    "bad_column.csv": b"prompt,sed\na cat,3\n",
    "ragged.csv": b"prompt,seed\na cat,3,4\n",
    "short.csv": b"prompt,seed\na cat\n",
    "twice.csv": b"prompt,id\na cat,x\na dog,x\n",
    "path_id.csv": b"prompt,id\na cat,../x\n",
    "broken.jsonl": b'{"prompt": \n',
    "list.jsonl": b'["a cat"]\n',
    "deep.jsonl": b"[" * 100_000 + b"\n",
    "bool.jsonl": b'{"prompt": "a cat", "seed": true}\n',
    "number.jsonl": b'{"prompt": 3}\n',
    "half.jsonl": b'{"prompt": "a cat", "steps": 2.5}\n',
    "infinite.jsonl": b'{"prompt": "a cat", "fps": Infinity}\n',
    "image.jsonl": b'{"prompt": "a cat", "image": "a.png"}\n',
    "taken.mp4": b"precious",
}

# (arguments after "generate", what the sentence must contain)
CASES: list[tuple[list[str], str]] = [
    ([], "no prompt was given"),
    ([""], "the prompt is empty"),
    (["  \n\t "], "the prompt is empty"),
    ([LONG], "2001 characters and the limit is 2000"),
    (["a\x00cat"], "U+0000"),
    (["a\x1b[31mcat"], "U+001B"),
    (["a\udcffcat"], "U+DCFF"),
    (["a cat", "--negative-prompt", "\x07"], "U+0007"),
    (["a cat", "--steps", "0"], "--steps is 0 and must lie between 1 and 1000"),
    (["a cat", "--steps", "many"], "--steps"),
    (["a cat", "--seed", "-2"], "--seed is -2"),
    (["a cat", "--seed", str(2**63)], "--seed is"),
    (["a cat", "--guidance-scale", "nan"], "--guidance-scale is nan"),
    (["a cat", "--guidance-scale", "-1"], "--guidance-scale is -1"),
    (["a cat", "--height", "0"], "--height is 0"),
    (["a cat", "--width", "-64"], "--width is -64"),
    (["a cat", "--num-frames", "99999"], "--num-frames is 99999"),
    (["a cat", "--fps", "inf"], "--fps is inf"),
    (["a cat", "--fps", "0"], "--fps is 0"),
    (["a cat", "--num-samples", "0"], "--num-samples is 0"),
    (["a cat", "--stepz", "3"], "--stepz"),
    (["a cat", "-o", "a.mp4", "--output-dir", "out"], "both -o and --output-dir"),
    (["a cat", "a dog", "-o", "a.mp4"], "-o names one file and 2 clips"),
    (["a cat", "--num-samples", "2", "-o", "a.mp4"], "-o names one file and 2 clips"),
    (["a cat", "-o", "a.docx"], ".mp4 or .webp or .gif"),
    (["a cat", "-o", "cat"], "'cat' cannot hold this result"),
    (["a cat", "-o", "taken.mp4"], "exists already: pass --overwrite"),
    (["a cat", "-o", "folder.mp4"], "is a folder"),
    (["a cat", "-o", "taken.mp4/a.mp4"], "is a file, so no folder can be made there"),
    (["a cat", "--output-dir", "taken.mp4"], "is a file, so no folder can be made there"),
    (["a cat", "-o", "a.mp4", "--contact-sheet", "sheet.mp4"], "expected a name that ends in .png"),
    (["a cat", "--prompts-file", "list.txt"], "both on the command line and with --prompts-file"),
    (["--prompts-file", "missing.txt"], "there is no such file or folder"),
    (["--prompts-file", "folder.txt"], "that is a folder and a file was expected"),
    (["--prompts-file", "prompts.docx"], ".txt, .csv or .jsonl"),
    (["--prompts-file", "empty.txt"], "holds no prompts"),
    (["--prompts-file", "empty.txt", "--steps", "-1"], "--steps is -1"),
    (["--prompts-file", "binary.txt"], "U+0000, which is not text"),
    (["--prompts-file", "latin.txt"], "is not UTF-8 text (byte 3)"),
    (["--prompts-file", "no_prompt.csv"], "there is no prompt in line 2"),
    (
        ["--prompts-file", "bad_seed.csv"],
        "seed in line 2 of 'bad_seed.csv' is 'three' and should be a whole number",
    ),
    (["--prompts-file", "bad_column.csv"], "'sed' in line 2 of 'bad_column.csv' is not a column"),
    (["--prompts-file", "ragged.csv"], "not as many cells as the header"),
    (["--prompts-file", "short.csv"], "not as many cells as the header"),
    (["--prompts-file", "twice.csv"], "the id 'x' stands twice"),
    (["--prompts-file", "path_id.csv"], "cannot be a file name"),
    (["--prompts-file", "broken.jsonl"], "line 1 of 'broken.jsonl' is not JSON"),
    (["--prompts-file", "list.jsonl"], "is not a JSON object"),
    (["--prompts-file", "deep.jsonl"], "is not JSON"),
    (["--prompts-file", "bool.jsonl"], "is True and should be a whole number"),
    (["--prompts-file", "number.jsonl"], "is 3 and should be text"),
    (["--prompts-file", "half.jsonl"], "is 2.5 and should be a whole number"),
    (["--prompts-file", "infinite.jsonl"], "fps in line 1 of 'infinite.jsonl' is inf"),
    (["--prompts-file", "image.jsonl"], "'image' in line 1 of 'image.jsonl' is not a column"),
]


@pytest.fixture
def mess(kinema):
    """A folder with the wrong files in it."""
    for name, content in FILES.items():
        Path(name).write_bytes(content)
    for name in ("folder.mp4", "folder.txt"):
        Path(name).mkdir()
    return kinema


@pytest.mark.parametrize(
    ("args", "sentence"), CASES, ids=[" ".join(args)[:60] or "nothing" for args, _ in CASES]
)
def test_one_sentence(mess, no_pipeline, args, sentence):
    answer = mess("generate", *args)
    assert answer.code == 2
    assert answer.out == ""
    assert sentence in answer.err
    assert answer.err.startswith("kinema: ")
    assert answer.err.count("\n") == 1
    assert Path("taken.mp4").read_bytes() == b"precious"
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("args", "sentence"), CASES, ids=[" ".join(args)[:60] or "nothing" for args, _ in CASES]
)
def test_the_same_as_json(mess, no_pipeline, args, sentence):
    answer = mess("generate", *args, "--json")
    assert (answer.code, answer.err) == (2, "")
    assert sentence in json.loads(answer.out)["error"]["message"]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["generate", "a cat", "-o", "a.mp4", "--model", "movie-gen"],
            "the closest are movie-gen-video-nano",
        ),
        (
            ["generate", "a cat", "-o", "a.mp4", "--weights", "mine.ckpt"],
            "is not a weight file that kinema reads",
        ),
        (["generate", "a cat", "-o", "a.mp4", "--weights", "mine.safetensors"], "there is no weight file at"),
        (["generate", "a cat", "-o", "a.mp4", "--weights", "torn.safetensors"], "is damaged"),
        (["generate", "a cat", "-o", "a.mp4", "--weights", "official"], "never published"),
        (
            ["generate", "a cat", "-o", "a.mp4", "--weights", "tiny.safetensors", "--device", "tpu"],
            "is not a device",
        ),
        (["info", "movie-gen"], "there is no model 'movie-gen'"),
        (["info"], "name"),
        (["rerun", "missing.mp4"], "missing.mp4 does not exist"),
        (["rerun", "torn.safetensors"], "not a media file"),
        (["eval", "movie-gen"], "there is no model"),
        (["eval", "movie-gen-video-nano", "--num-prompts", "0"], "--num-prompts is 0"),
        (["eval", "movie-gen-video-nano", "--seed", "-1"], "a bench must be repeatable"),
        (["eval", "movie-gen-video-nano", "--out", "report.txt"], "ends in .json"),
        (["train", "movie-gen-video-nano"], "--out"),
        (["train", "movie-gen", "--out", "run"], "there is no model"),
        (
            ["train", "movie-gen-video-nano", "--out", "run", "--preset", "nan"],
            "no preset 'nan'; the closest are nano",
        ),
        (["train", "movie-gen-video-nano", "--out", "run", "--data", "nowhere"], "'nowhere' does not exist"),
        (["train", "movie-gen-video-nano", "--out", "run", "--max-steps", "0"], "--max-steps is 0"),
        (["train", "movie-gen-video-nano", "--out", "run", "--resume", "maybe"], "must be auto or never"),
        (["train", "movie-gen-video-nano", "--out", "run", "--set", "lr=3"], "write STAGE.FIELD=VALUE"),
        (
            ["train", "movie-gen-video-nano", "--out", "run", "--init", "x.pt"],
            "there is no weight file at 'x.pt'",
        ),
        (["train", "movie-gen-video-nano", "--out", "torn.safetensors"], "is a file, so no folder"),
        (["world", "show", "--count", "0"], "--count is 0"),
        (["world", "show", "-o", "world.mp4"], "ends in .png"),
        (["world", "show", "--split", "trian"], "trian"),
        (["world", "show", "--start", "-1"], "-1"),
        (["world"], "kinema world"),
        (["genrate", "a cat"], "genrate"),
    ],
)
def test_other_verbs(kinema, args, sentence):
    Path("torn.safetensors").write_bytes(b"\xff\x00\x00\x00\x00\x00\x00\x00{")
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    Path("tiny.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    answer = kinema(*args)
    assert answer.code == 2
    assert sentence in answer.err + answer.out
    assert "Traceback" not in answer.err
    assert not Path("run").exists()


def test_a_folder_that_may_not_be_written_to(kinema, no_pipeline, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere, so the answer is staged
    answer = kinema("generate", "a cat", "-o", "a.mp4")
    assert answer.code == 2
    assert "may not be written to" in answer.err
