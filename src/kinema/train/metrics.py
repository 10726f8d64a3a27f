"""metrics.jsonl: one line a logged step, continued exactly after a resume; TensorBoard when it is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Metrics:
    """Appends records and knows its length in bytes, which a checkpoint stores and a resume cuts back to."""

    def __init__(self, path: Path, position: int, tensorboard: Path | None = None, step: int = 0) -> None:
        self.file = open(path, "ab")  # noqa: SIM115  closed by close()
        size = self.file.seek(0, os.SEEK_END)
        if size > position:
            self.file.truncate(position)
            self.file.seek(0, os.SEEK_END)
        self.board = Board.open(tensorboard, step) if tensorboard is not None else None

    def write(self, record: Mapping[str, Any]) -> None:
        """One line, in the file at once."""
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self.file.write(json.dumps(plain).encode() + b"\n")
        self.file.flush()
        if self.board is not None:
            self.board.write({name: value for name, value in record.items() if "/" in name}, record["step"])

    def position(self) -> int:
        """The length that is safe on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        """Flush and close both."""
        self.file.close()
        if self.board is not None:
            self.board.close()


class Board:
    """A TensorBoard event file. TensorBoard's own writer puts the host's name into the file's; this one does not."""

    def __init__(self, path: Path, step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.events, self.summaries = event_pb2, summary_pb2
        self.records = RecordWriter(open(path, "wb"))  # noqa: SIM115  closed by close()
        self._add(file_version="brain.Event:2")
        # Tells the reader to forget what a killed run had logged beyond the checkpoint.
        self._add(step=step + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    @classmethod
    def open(cls, folder: Path, step: int) -> Board | None:
        """A new event file in `folder`, or None when TensorBoard is not installed."""
        if importlib.util.find_spec("tensorboard") is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / f"events.out.tfevents.{time.time_ns() // 1000:016d}", step)

    def _add(self, **content: Any) -> None:
        self.records.write(self.events.Event(wall_time=time.time(), **content).SerializeToString())
        self.records.flush()

    def write(self, values: Mapping[str, float], step: int) -> None:
        """One point of every curve."""
        points = [
            self.summaries.Summary.Value(tag=name, simple_value=value) for name, value in values.items()
        ]
        self._add(step=step, summary=self.summaries.Summary(value=points))

    def close(self) -> None:
        """Close the file."""
        self.records.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; a last line cut short by a kill is left out."""
    records = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
