"""A disk that refuses to be written: one sentence, and the run goes on once there is room."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from kinema.errors import UserError
from kinema.train import Stage, run_stages


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond `size` bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [500, 2000, 7000])
def test_full_disk_is_one_sentence_and_the_run_continues_later(
    make_stage: Callable[..., Stage], tmp_path: Path, size: int
) -> None:
    straight, stage, again = make_stage(), make_stage(), make_stage()
    run_stages([straight], tmp_path / "a")
    with (
        files_limited_to(size),
        pytest.raises(UserError, match=r"^cannot write to the run folder b: .*; free space"),
    ):
        run_stages([stage], tmp_path / "b")
    assert not list((tmp_path / "b").glob("checkpoints/.step_*"))
    run_stages([again], tmp_path / "b")
    assert all(
        torch.equal(a, b) for a, b in zip(straight.model.parameters(), again.model.parameters(), strict=True)
    )


def test_a_folder_without_permission(
    make_stage: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        UserError, match="run folder run: Permission denied; free space, or allow writing there"
    ):
        run_stages([make_stage()], tmp_path / "run")
