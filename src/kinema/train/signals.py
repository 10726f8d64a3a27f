"""SIGTERM, SIGUSR1 and Ctrl-C ask for a checkpoint and an orderly end; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Preempted(SystemExit):
    """The run was asked to stop, wrote its checkpoint and can be resumed. The exit code is 128 + the signal."""

    def __init__(self, signum: int, run_step: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum
        self.run_step = run_step


class StopRequest:
    """Which signal came, 0 for none."""

    signum: int = 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch the signals while the block runs (main thread only; elsewhere nothing is caught)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and request.signum:
            raise KeyboardInterrupt
        request.signum = signum

    caught = [signal.SIGTERM, signal.SIGINT] + ([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])
    before: dict[signal.Signals, Any] = {one: signal.signal(one, handle) for one in caught}
    try:
        yield request
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
