"""metrics.jsonl: one line a logged step, continued exactly after a resume; TensorBoard when it is installed."""

from __future__ import annotations

import json
import os
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
        self.board: Any = None
        if tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            self.board = SummaryWriter(str(tensorboard), purge_step=step + 1)

    def write(self, record: Mapping[str, Any]) -> None:
        """One line, in the file at once."""
        self.file.write(json.dumps(record).encode() + b"\n")
        self.file.flush()
        if self.board is not None:
            for name, value in record.items():
                if isinstance(value, (int, float)) and "/" in name:
                    self.board.add_scalar(name, value, record["step"])

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


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; a last line cut short by a kill is left out."""
    records = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
