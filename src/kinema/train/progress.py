"""What a person sees while a run lasts: a bar on a terminal, a line every few steps elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from kinema.train.log import logger


def duration(seconds: float) -> str:
    """Seconds in words: 42 s, 12 min, 3.4 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


class _AboveTheBar(logging.Handler):
    """Prints log lines over a running bar; the periodic ones only go to the file, the bar says the same."""

    def __init__(self, console: Any) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "periodic", False):
            self.console.print(self.format(record), markup=False, highlight=False)


class Progress:
    """`with Progress(...) as bar: bar.show(step, text)`; `text` is the line that is logged when there is no bar."""

    def __init__(self, name: str, steps: int, done: int, visible: bool) -> None:
        self.bar: Any = None
        self.muted: Sequence[logging.Handler] = ()
        if not visible:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        self.bar = RichProgress(*columns, TextColumn("{task.fields[text]}"), console=Console(stderr=True))
        self.task = self.bar.add_task(name, total=steps, completed=done, text="")
        self.handler = _AboveTheBar(self.bar.console)

    def __enter__(self) -> Progress:
        if self.bar is not None:
            streams = [h for h in logger.handlers if type(h) is logging.StreamHandler]
            for handler in streams:
                logger.removeHandler(handler)
            self.muted = streams
            logger.addHandler(self.handler)
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
            logger.removeHandler(self.handler)
            for handler in self.muted:
                logger.addHandler(handler)

    def advance(self, step: int) -> None:
        """Move the bar, if there is one."""
        if self.bar is not None:
            self.bar.update(self.task, completed=step)

    def line(self, text: str, short: str) -> None:
        """A periodic line: to the log, and in short beside the bar."""
        if self.bar is not None:
            self.bar.update(self.task, text=short)
        logger.info(text, extra={"periodic": True})
