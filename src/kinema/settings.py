"""Settings of networks, which are frozen dataclasses: to plain values and back, and presets by name."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from kinema.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def plain_settings(settings: DataclassInstance) -> dict[str, Any]:
    """The values as JSON has them: tuples are lists, settings within settings are dictionaries."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return values


def known_settings(cls: type[DataclassInstance], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as keyword arguments of `cls`; UserError for one that it does not have or that is missing."""
    fields = dataclasses.fields(cls)
    names = [field.name for field in fields]
    for key in values:
        if key not in names:
            raise UserError(f"{cls.__name__} has no setting {key!r}; the closest are {_closest(key, names)}")
    missing = [
        field.name
        for field in fields
        if field.default is field.default_factory is dataclasses.MISSING and field.name not in values
    ]
    if missing:
        raise UserError(f"{cls.__name__} needs {', '.join(missing)} as well")
    return dict(values)


def named_preset(presets: Mapping[str, T], name: str, network: str) -> T:
    """The preset of this name; UserError with the closest three names where the network has none."""
    if name not in presets:
        near = _closest(name, presets)
        raise UserError(f"there is no preset {name!r} of {network}; the closest are {near}")
    return presets[name]


def _closest(name: str, known: Iterable[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0.0))
