"""For any prompt and any settings: either a clip that says how it was made and reruns equal, or one sentence."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.cli import app, prompts, shell
from kinema.errors import UserError
from kinema.media import Video, read_provenance

RELAXED = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
ANY_TEXT = st.text(max_size=60) | st.text(alphabet="ab \u00e9\U0001f98a'\"/\\.;$`\n", max_size=60)


def run(*args: str) -> tuple[int, str, str]:
    """One command with its output caught."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = shell.run(app, args)
    return code, out.getvalue(), err.getvalue()


@RELAXED
@given(
    prompt=ANY_TEXT.filter(lambda text: not text.startswith("-")),
    seed=st.integers(-3, 2**64),
    height=st.integers(-1, 40),
    width=st.integers(-1, 40),
    num_frames=st.integers(-1, 6),
    fps=st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([1.0, 8.0, 23.976, 60.0]),
    guidance=st.floats(-1, 120) | st.just(3.0),
)
def test_a_clip_or_a_sentence(pipeline, prompt, seed, height, width, num_frames, fps, guidance):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        code, out, err = run(
            "generate", "-o", str(file), f"--seed={seed}", f"--height={height}", f"--width={width}",
            f"--num-frames={num_frames}", f"--fps={fps}", f"--guidance-scale={guidance}", "--", prompt,
        )  # fmt: skip
        if code == 2:
            assert (out, err.count("\n")) == ("", 1)
            assert not file.exists()
            return
        assert (code, err) == (0, "")
        assert Video.read(file).frames.shape == (num_frames, height, width, 3)
        provenance = read_provenance(file)
        assert provenance.prompt == prompt.strip()
        assert provenance.seed == seed or (seed == -1 and provenance.seed >= 0)
        assert run("rerun", str(file))[0] == 0


@RELAXED
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".txt", ".csv", ".jsonl"]))
def test_no_file_of_prompts_breaks_the_reader(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"prompts{suffix}"
        file.write_bytes(content)
        with contextlib.suppress(UserError):
            requests = prompts.read_prompts_file(file, prompts.Request(prompt=""))
            assert all(request.prompt.strip() == request.prompt != "" for request in requests)


@RELAXED
@given(text=st.text(max_size=50))
def test_checked_prompts_are_stable(text):
    try:
        once = prompts.check_prompt(text)
    except UserError:
        return
    assert prompts.check_prompt(once) == once
    assert once in text


def test_the_limit_is_where_it_says():
    assert prompts.check_prompt("a" * prompts.MAX_PROMPT_CHARACTERS)
    with pytest.raises(UserError, match="2001 characters"):
        prompts.check_prompt("a" * (prompts.MAX_PROMPT_CHARACTERS + 1))
