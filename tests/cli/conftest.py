"""A command line that runs inside the test, with a tiny model in place of a real one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.cli import app, generate, making, shell
from kinema.media import Video
from tests.cli.sound_clips import SHORT, save_tiny_system


@dataclass
class TinyClip:
    """What the tiny model gives back for a prompt."""

    video: Video
    notices: list[str]
    prompt_used: str


@dataclass
class TinyPipeline:
    """Colours that depend on the prompt, the seed and every setting; remembers what it was asked."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    wobble: int = 0  # a model that does not repeat itself: added to the pixels

    def generate(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int = 3,
        guidance_scale: float = 1.0,
        height: int = 16,
        width: int = 16,
        num_frames: int = 4,
        fps: float = 8.0,
        negative_prompt: str = "",
        on_step: Callable[..., None] | None = None,
    ) -> list[TinyClip]:
        clips = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            settings = (steps, guidance_scale, height, width, num_frames, fps, negative_prompt)
            self.calls.append({"prompt": prompt, "seed": seed, "settings": settings})
            digest = hashlib.sha256(repr((prompt, seed, settings)).encode()).digest()
            for done in range(steps):
                if on_step:
                    on_step(done + 1, None)
            top, bottom = (np.array(list(digest[i : i + 3]), dtype=np.float64) for i in (0, 3))
            mix = np.linspace(0, 1, height)[None, :, None, None] * np.ones((num_frames, 1, width, 1))
            frames = ((1 - mix) * top + mix * bottom + self.wobble).clip(0, 255).astype(np.uint8)
            notices = ["nano does not know 'dragonfly'; it took 'butterfly'"] if "dragonfly" in prompt else []
            clips.append(TinyClip(Video(frames, fps), notices, prompt.lower()))
        return clips


@dataclass
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self.out)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> TinyPipeline:
    """The tiny model, standing where the command line opens models; its clips are silent."""
    tiny = TinyPipeline()
    monkeypatch.setattr(generate, "open_sound_for", lambda name, device: None)
    monkeypatch.setattr(
        making, "open_model", lambda name, weights, device: making.Model(name, tiny, weights, "0123456789ab")
    )
    return tiny


@pytest.fixture
def no_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be loaded: what is wrong must be found before."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a model was opened although the input is wrong")

    monkeypatch.setattr(making, "open_model", refuse)


@pytest.fixture
def kinema(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Answer]:
    """Run one command in an empty folder: `kinema("generate", "a fox")`."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Answer:
        capsys.readouterr()
        code = shell.run(app, args)
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return run


@pytest.fixture(scope="session")
def sound_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole sound system of a few thousand untrained weights."""
    return save_tiny_system(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def sound(kinema, sound_weights):
    """`kinema sound` with the tiny weights in one step."""
    return lambda *args: kinema("sound", *args, "--weights", str(sound_weights), *SHORT)
