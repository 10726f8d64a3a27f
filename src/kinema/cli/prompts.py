"""From what was typed or stands in a file to checked requests: one clip each, with its prompt, seed and settings."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from kinema.errors import UserError
from kinema.hub import closest

MAX_PROMPT_CHARACTERS: Final = 2000
MAX_FILE_BYTES: Final = 64 * 2**20
MAX_SEED: Final = 2**63 - 1
RANDOM_SEED: Final = -1

# setting -> (smallest, largest); a model may be narrower and says so itself
LIMITS: Final[dict[str, tuple[float, float]]] = {
    "seed": (RANDOM_SEED, MAX_SEED),
    "steps": (1, 1000),
    "guidance_scale": (0, 100),
    "height": (1, 8192),
    "width": (1, 8192),
    "num_frames": (1, 4096),
    "fps": (0.1, 240),
    "num_samples": (1, 10_000),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One clip to make. `None` leaves the choice to the model; `id` becomes the file's name."""

    prompt: str
    seed: int = RANDOM_SEED
    negative_prompt: str = ""
    steps: int | None = None
    guidance_scale: float | None = None
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    fps: float | None = None
    id: str = ""

    def settings(self) -> dict[str, Any]:
        """What `generate` takes besides the prompt and the seed, without what was left to the model."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in given.items()
            if value is not None and name not in ("prompt", "seed", "id")
        }


def check_prompt(prompt: str, what: str = "the prompt") -> str:
    """Give the prompt back without the spaces around it, or say in one sentence why it cannot be one."""
    text = prompt.strip()
    if not text:
        raise UserError(f"{what} is empty: describe the clip, for example 'a red fox bounces to the right'")
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise UserError(
            f"{what} has {len(text)} characters and the limit is {MAX_PROMPT_CHARACTERS}: say it in fewer words"
        )
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs", "Cn", "Co") and character not in "\t\n\r":
            raise UserError(
                f"{what} holds the character U+{ord(character):04X}, which is not text: is it a binary file?"
            )
    return text


def check_number(name: str, value: float, what: str = "") -> None:
    """Hold a setting against its limits."""
    smallest, largest = LIMITS[name]
    if not math.isfinite(value) or not smallest <= value <= largest:
        flag = what or f"--{name.replace('_', '-')}"
        raise UserError(f"{flag} is {value:g} and must lie between {smallest:g} and {largest:g}")


def check_request(request: Request, where: str = "") -> Request:
    """Check every part of a request; `where` says which line of a file it came from."""
    prompt = check_prompt(request.prompt, f"the prompt{where}")
    if request.negative_prompt.strip():
        check_prompt(request.negative_prompt, f"the negative prompt{where}")
    for name in LIMITS:
        value = getattr(request, name, None)
        if value is not None:
            check_number(name, value, f"{name}{where}" if where else "")
    return replace(request, prompt=prompt, negative_prompt=request.negative_prompt.strip())


def read_prompts_file(path: Path, defaults: Request) -> list[Request]:
    """Read a file of prompts: `.txt` has one a line, `.csv` and `.jsonl` one a row with settings of its own.

    The columns are prompt (needed), negative_prompt, seed, steps, guidance_scale, height, width, num_frames, fps, id.
    What a row leaves open comes from `defaults`.
    """
    readers = {".txt": _read_txt, ".csv": _read_csv, ".jsonl": _read_jsonl}
    if path.suffix.lower() not in readers:
        raise UserError(
            f"'{path}' is not a file of prompts: expected a name that ends in .txt, .csv or .jsonl"
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(f"'{path}' is larger than {MAX_FILE_BYTES >> 20} MiB: split it")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    requests = []
    for line, row in readers[path.suffix.lower()](text, path):
        where = f" in line {line} of '{path}'"
        requests.append(check_request(request_from_row(row, defaults, where), where))
    if not requests:
        raise UserError(f"'{path}' holds no prompts: write one a line")
    given = [request.id for request in requests if request.id]
    if len(set(given)) < len(given):
        twice = next(name for name in given if given.count(name) > 1)
        raise UserError(
            f"the id '{twice}' stands twice in '{path}': ids become file names, so each needs its own"
        )
    return requests


def spread(requests: Iterable[Request], num_samples: int) -> list[Request]:
    """Repeat each request `num_samples` times: sample k takes seed + k, a random seed is drawn for each and fixed."""
    check_number("num_samples", num_samples)
    return [_sample(request, k) for request in requests for k in range(num_samples)]


def _sample(request: Request, k: int) -> Request:
    if request.seed == RANDOM_SEED:
        return replace(request, seed=secrets.randbelow(2**31))
    return replace(request, seed=(request.seed + k) % (MAX_SEED + 1))


def _read_txt(text: str, path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, {"prompt": line}


def _read_csv(text: str, path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise UserError(
                    f"line {reader.line_num} of '{path}' has not as many cells as the header: quote cells with commas"
                )
            yield reader.line_num, {name.strip(): cell for name, cell in row.items() if cell.strip()}
    except csv.Error as error:
        raise UserError(f"line {reader.line_num} of '{path}' is not CSV: {error}") from error


def _read_jsonl(text: str, path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"line {number} of '{path}' is not JSON: write one object a line") from error
        if not isinstance(row, dict):
            raise UserError(f"line {number} of '{path}' is not a JSON object: write {{\"prompt\": ...}}")
        yield number, {name: value for name, value in row.items() if value is not None}


_KINDS: Final[Mapping[str, type]] = {
    "prompt": str, "negative_prompt": str, "id": str, "seed": int, "steps": int, "height": int, "width": int,
    "num_frames": int, "guidance_scale": float, "fps": float,
}  # fmt: skip


def request_from_row(row: Mapping[str, Any], defaults: Request, where: str) -> Request:
    """Lay a row's values over `defaults`; an unknown name or a value of the wrong kind is a `UserError`."""
    for name in row:
        if name not in _KINDS:
            raise UserError(f"'{name}'{where} is not a column that this model takes; {closest(name, _KINDS)}")
    if "prompt" not in row:
        raise UserError(f"there is no prompt{where}: a row needs at least a 'prompt'")
    values = {name: _parse(name, value, where) for name, value in row.items()}
    name = values.get("id", "")
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise UserError(
            f"the id{where} cannot be a file name: use up to 64 letters, digits, dots, dashes, underscores"
        )
    return replace(defaults, **values)


def _parse(name: str, value: Any, where: str) -> Any:
    kind = _KINDS[name]
    try:
        if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
            raise ValueError
        if kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError
        return kind(value)
    except (ValueError, TypeError, OverflowError):
        expected = {str: "text", int: "a whole number", float: "a number"}[kind]
        shown = repr(value) if len(repr(value)) < 40 else f"{repr(value)[:40]}..."
        raise UserError(f"{name}{where} is {shown} and should be {expected}") from None
