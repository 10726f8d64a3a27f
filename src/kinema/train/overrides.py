"""`--set stage.field=value`: text from the command line onto typed dataclasses."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from kinema.errors import UserError
from kinema.train.stage import Stage

T = TypeVar("T")


def closest(name: str, known: Iterable[str]) -> str:
    """The three known names that are nearest to `name`, as text."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    return ", ".join(near) if near else "there are none"


def _split(assignment: str) -> tuple[list[str], str]:
    path, equals, value = assignment.partition("=")
    parts = [part.strip().replace("-", "_") for part in path.strip().split(".")]
    if not equals or not all(parts):
        raise UserError(f"--set {assignment!r} is not of the form name=value, such as lr=3e-4")
    return parts, value.strip()


def _items(text: str) -> list[str]:
    inner = text.strip()
    if len(inner) > 1 and inner[0] + inner[-1] in ("()", "[]", "{}"):
        inner = inner[1:-1]
    return [item.strip() for item in inner.split(",") if item.strip()]


def convert(text: str, kind: Any, where: str) -> Any:
    """`text` as a value of the annotated type `kind`; `where` names the field in errors."""

    def refuse(expected: str) -> UserError:
        return UserError(f"{where}={text!r} does not fit: expected {expected}")

    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and text.lower() in ("none", "null", ""):
            return None
        rest = [one for one in arguments if one is not type(None)]
        for one in rest[:-1]:
            try:
                return convert(text, one, where)
            except UserError:
                continue
        return convert(text, rest[-1], where)
    if origin is Literal:
        for choice in arguments:
            if text == str(choice):
                return choice
        raise refuse("one of " + ", ".join(str(choice) for choice in arguments))
    if kind is bool:
        if text.lower() in ("true", "yes", "on", "1"):
            return True
        if text.lower() in ("false", "no", "off", "0"):
            return False
        raise refuse("true or false")
    if kind is int:
        try:
            number = float(text) if any(letter in text for letter in ".eE") else int(text)
        except ValueError:
            raise refuse("a whole number") from None
        if number != int(number):
            raise refuse("a whole number")
        return int(number)
    if kind is float:
        try:
            return float(text)
        except ValueError:
            raise refuse("a number") from None
    if kind is str:
        return text
    if kind is Path:
        return Path(text)
    if origin in (list, Sequence) or (origin is tuple and arguments[-1:] == (Ellipsis,)):
        made = [convert(item, arguments[0], where) for item in _items(text)]
        return tuple(made) if origin is tuple else made
    if origin is tuple:
        items = _items(text)
        if len(items) != len(arguments):
            raise refuse(f"{len(arguments)} values with commas between them")
        return tuple(convert(item, one, where) for item, one in zip(items, arguments, strict=True))
    if origin is dict:
        pairs = [item.partition(":") for item in _items(text)]
        if not all(colon for _, colon, _ in pairs):
            raise refuse("name:value pairs with commas between them")
        return {
            convert(key.strip(), arguments[0], where): convert(value.strip(), arguments[1], where)
            for key, _, value in pairs
        }
    raise UserError(
        f"{where} cannot be set from the command line: it holds {_kind_name(kind)}; change the recipe"
    )


def _kind_name(kind: Any) -> str:
    return "a function" if "Callable" in str(kind) else f"a {getattr(kind, '__name__', str(kind))}"


def _set(settings: Any, parts: list[str], text: str, where: str) -> Any:
    hints = get_type_hints(type(settings))
    known = {item.name for item in fields(settings) if item.init}
    name = parts[0]
    if name not in known:
        raise UserError(f"{where} is not a setting: did you mean {closest(name, known)}?")
    if len(parts) == 1:
        return replace(settings, **{name: convert(text, hints[name], where)})
    inner = getattr(settings, name)
    if not is_dataclass(inner):
        raise UserError(f"{where} is not a setting: {name} has no fields of its own")
    return replace(settings, **{name: _set(inner, parts[1:], text, where)})


def override(settings: T, assignments: Sequence[str]) -> T:
    """A copy of a dataclass with `field=value` or `field.inner=value` applied, converted to the annotated types.

    Raises UserError with the closest three names for an unknown one, and with the expected type for a bad value.
    """
    for assignment in assignments:
        parts, text = _split(assignment)
        settings = _set(settings, parts, text, ".".join(parts))
    return settings


def override_stages(stages: Sequence[Stage], assignments: Sequence[str]) -> list[Stage]:
    """Apply `stage.field=value` to the stages of a recipe; `*.field=value` applies to all of them."""
    changed = list(stages)
    known = {stage.name.replace("-", "_") for stage in stages}
    for assignment in assignments:
        parts, text = _split(assignment)
        where = ".".join(parts)
        if len(parts) < 2:
            raise UserError(
                f"--set {assignment!r} names no stage: write stage.{where}=..., with {closest('', known)} or *"
            )
        if parts[0] != "*" and parts[0] not in known:
            raise UserError(
                f"{where}: there is no stage {parts[0]!r}; did you mean {closest(parts[0], known)}?"
            )
        changed = [
            _set(stage, parts[1:], text, where) if parts[0] in ("*", stage.name.replace("-", "_")) else stage
            for stage in changed
        ]
    return changed
