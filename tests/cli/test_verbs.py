"""Help, version, `models`, `info`, `doctor`, `world show`, and the border to the shell."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys

import pytest

from kinema import __version__
from kinema.cli import _EXAMPLES, shell
from kinema.hub import MODELS
from kinema.media import Image


@pytest.mark.parametrize("verb", _EXAMPLES)
def test_help_ends_in_an_example_that_parses(kinema, verb):
    answer = kinema(*verb.split(), "--help")
    assert answer.code == 0
    last = answer.out.strip().splitlines()[-1].strip()
    assert last == f"Example: {_EXAMPLES[verb]}"
    words = shlex.split(_EXAMPLES[verb])
    assert words[0] == "kinema"
    assert words[1 : 1 + len(verb.split())] == verb.split()
    known = {
        word for line in answer.out.splitlines() for word in line.replace(",", " ").split() if word[0] == "-"
    }
    assert {word for word in words if word.startswith("-")} <= known


def test_every_verb_has_an_example(kinema):
    listed = kinema("--help").out.split("Commands:")[1].split("Example:")[0].splitlines()
    verbs = {line.split()[0] for line in listed if line.strip()}
    assert verbs == {example.split()[0] for example in _EXAMPLES}


def test_version(kinema):
    assert kinema("--version").out == f"kinema {__version__}\n"


def test_models(kinema):
    assert "movie-gen-video-nano" in kinema("models").out
    rows = kinema("models", "--json").document["models"]
    assert [row["name"] for row in rows] == list(MODELS)


def test_info_names_paper_and_both_licences(kinema):
    answer = kinema("info", "movie-gen-video-nano")
    for fact in ("2410.13720", "code licence", "weights licence", "nano, 1b, 5b, 30b"):
        assert fact in answer.out
    assert kinema("info", "movie-gen-video-nano", "--json").document["commands"] == [
        "generate",
        "train",
        "eval",
        "plan",
    ]


def test_doctor_is_fit_for_a_bug_report(kinema):
    facts = kinema("doctor", "--json").document
    assert facts["kinema"] == __version__
    assert facts["matmul_gflops"] > 0
    assert facts["h264_encoder"] is True
    assert "libavcodec" in facts["video_libraries"]
    spoken = kinema("doctor").out
    for private in (os.getcwd(), os.path.expanduser("~/"), os.uname().nodename):
        assert private not in spoken


def test_world_show(kinema):
    answer = kinema("world", "show", "--count", "2", "--seed", "5", "-o", "two.png", "--json")
    assert [scene["index"] for scene in answer.document["scenes"]] == [5, 6]
    assert all(scene["caption"] for scene in answer.document["scenes"])
    again = kinema("world", "show", "--count", "2", "--start", "5", "-o", "again.png", "--json")
    assert again.document["scenes"] == answer.document["scenes"]
    assert (Image.read("two.png").pixels == Image.read("again.png").pixels).all()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG, errno.EIO])
def test_system_errors_say_the_file_and_the_reason(code):
    sentence = shell.explain_os_error(OSError(code, os.strerror(code), "out/a.mp4"))
    assert sentence.startswith("'out/a.mp4': ")
    assert len(sentence) > len("'out/a.mp4': ") + 5


def test_help_and_import_leave_torch_alone():
    heavy = ("torch", "numpy", "PIL", "av", "rich")
    code = f"""
import sys, kinema
assert not [name for name in {heavy!r} if name in sys.modules], "import kinema"
from kinema.cli import app, shell
for arguments in (["--help"], ["generate", "--help"], ["train", "--help"], ["--version"], ["models"]):
    assert shell.run(app, arguments) == 0
found = [name for name in {heavy!r} if name in sys.modules]
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_who_leaves_early_is_no_error():
    command = (
        f"{shlex.quote(sys.executable)} -c 'from kinema.cli import main; main()' generate --help | head -1"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Usage: kinema generate")
    assert done.stderr == ""
