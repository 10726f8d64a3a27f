"""The run folder: settings, environment, command, log, metrics, checkpoints, final weights."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

import kinema
from kinema.errors import UserError
from kinema.train.checkpoint import write_text
from kinema.train.log import logger


def public(value: Any) -> Any:
    """A setting as plain data for a file that may be shared: functions by name, paths without their private part."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return public_path(value) if value.startswith(("/", "~")) else value
    if isinstance(value, Path):
        return public_path(str(value))
    if isinstance(value, torch.nn.Module):
        config = getattr(value, "config", None)
        return {"class": type(value).__name__, **(public(config) if is_dataclass(config) else {})}
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: public(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): public(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range, set, frozenset)):
        return [public(item) for item in value]
    name = getattr(value, "__qualname__", None)
    return name if name is not None else type(value).__name__


def public_path(text: str) -> str:
    """A path without the folders above the working directory."""
    path = Path(text).expanduser()
    if not path.is_absolute():
        return text
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return path.name


def to_toml(values: Mapping[str, Any], prefix: str = "") -> str:
    """Nested plain data as TOML; what is None is left out, since TOML has no word for it."""

    def literal(value: Any) -> str:
        if isinstance(value, Mapping):
            inner = ", ".join(
                f"{json.dumps(str(k))} = {literal(v)}" for k, v in value.items() if v is not None
            )
            return f"{{{inner}}}"
        if isinstance(value, list):
            return "[" + ", ".join(literal(item) for item in value if item is not None) + "]"
        if isinstance(value, float):
            return (
                repr(value)
                if np.isfinite(value)
                else ("nan" if np.isnan(value) else "inf" if value > 0 else "-inf")
            )
        return json.dumps(value, ensure_ascii=False)

    def key(name: str) -> str:
        return (
            name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)
        )

    lines = [
        f"{key(k)} = {literal(v)}" for k, v in values.items() if v is not None and not isinstance(v, Mapping)
    ]
    text = "\n".join(lines) + ("\n" if lines else "")
    for name, value in values.items():
        if isinstance(value, Mapping):
            path = f"{prefix}{key(name)}"
            text += f"\n[{path}]\n" + to_toml(value, f"{path}.")
    return text


def _commit() -> str | None:
    try:
        command = ["git", "-C", str(Path(kinema.__file__).parent), "rev-parse", "HEAD"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Versions and hardware; no names of people or hosts, no paths."""
    return {
        "kinema": kinema.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


class RunFolder:
    """Paths of one run, and the files that are written before its first step."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.checkpoints = out / "checkpoints"
        self.metrics = out / "metrics.jsonl"
        self.final = out / "final"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.out / "config.toml").exists() or self.metrics.exists() or self.checkpoints.exists()

    @staticmethod
    def model_config(model: torch.nn.Module) -> str:
        """The model's own settings as JSON, when it has a Config dataclass under `config`."""
        config = getattr(model, "config", None)
        return json.dumps(public(config) if is_dataclass(config) else {}, indent=1) + "\n"

    def samples(self, run_step: int) -> Path:
        """Where a validation puts its pictures."""
        return self.out / "samples" / f"step_{run_step:09d}"

    def begin(self, settings: Mapping[str, Any], stages: Sequence[Any], resume: str) -> list[str]:
        """Write config.toml, env.json and command.txt; on resume, returns the settings that changed."""
        if resume not in ("auto", "never"):
            raise UserError(f"resume={resume!r} is not known: choose auto or never")
        if resume == "never" and self.exists():
            raise UserError(
                f"{public_path(str(self.out))} already holds a run and resume is 'never': "
                "choose another folder, or resume='auto' to continue it"
            )
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.final.mkdir(exist_ok=True)
        config = to_toml(
            {"settings": public(settings), "stages": {stage.name: public(stage) for stage in stages}}
        )
        path = self.out / "config.toml"
        changed: list[str] = []
        if path.exists():
            before = path.read_text(encoding="utf-8")
            if before != config:
                changed = _changes(before, config)
                write_text(self.out / "config.previous.toml", before)
        write_text(path, config)
        write_text(self.out / "env.json", json.dumps(environment(), indent=1) + "\n")
        command = " ".join([Path(sys.argv[0]).name, *(str(public(word)) for word in sys.argv[1:])])
        write_text(self.out / "command.txt", command + "\n")
        return changed


def _changes(before: str, after: str) -> list[str]:
    """Every `table.key = value` of `after` that `before` does not have, and `table.key removed`."""

    def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, Mapping):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    old, new = dict(flat(tomllib.loads(before))), dict(flat(tomllib.loads(after)))
    return [
        f"{name} = {new[name]!r}" if name in new else f"{name} removed"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


class _LogFile(logging.FileHandler):
    """A log that cannot be written (a full disk) must not bury the error that says so."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def writing(out: Path, consolation: str = "") -> Iterator[None]:
    """Turns a full disk or a missing permission into one sentence that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        cause = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise UserError(
            f"cannot write to the run folder {public_path(str(out))}: {cause}; free space, or allow writing there, "
            f"or choose another folder{'; ' + consolation if consolation else ''}"
        ) from error


@contextmanager
def run_log(out: Path | None) -> Iterator[None]:
    """Send the training logger to train.log, and to stderr when nobody else listens, while the run lasts."""
    handlers: list[logging.Handler] = []
    before = logger.level
    if out is not None:
        logger.setLevel(logging.INFO)
        file = _LogFile(out / "train.log", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(file)
        if not logger.hasHandlers():
            stream = logging.StreamHandler()
            stream.setFormatter(logging.Formatter("%(message)s"))
            handlers.append(stream)
    else:
        logger.setLevel(logging.ERROR)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(before)
