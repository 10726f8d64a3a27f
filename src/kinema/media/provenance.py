"""How a file came to be: prompt, seed, model, weights, version, settings, as JSON inside the file itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from kinema import __version__
from kinema.errors import UserError

MAX_BYTES = 256 * 1024
_PRIVATE = re.compile(r"^(file:|~|/[^/]|[A-Za-z]:[\\/]|\\\\)")
_PARAMETERS = {
    "steps": "Steps",
    "solver": "Sampler",
    "guidance_scale": "CFG scale",
}  # ours -> the community's words


@dataclass(frozen=True)
class Provenance:
    """What is needed to make a file again.

    `weights_hash` is the SHA-256 of the weights file (or its beginning); `settings` holds plain values
    (numbers, strings, lists, mappings). An absolute path or a path object in `settings` or `model` is cut to
    its last part when it is written, so that no folder of the author's machine leaves it.
    """

    prompt: str = ""
    seed: int | None = None
    model: str = ""
    weights_hash: str = ""
    version: str = __version__
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of ASCII JSON. Raises UserError when a setting has no JSON form, or over 256 kB."""
        try:
            text = json.dumps(self._plain(), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"the provenance cannot be written as JSON ({error}): use plain finite values in settings"
            ) from None
        if len(text) > MAX_BYTES:
            raise UserError(f"the provenance is {len(text)} bytes and {MAX_BYTES} fit: shorten the settings")
        return text

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """The inverse of `to_json`; fields that this version does not know are left out."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise UserError(
                "the provenance is not a JSON object: pass the text that Provenance.to_json() made"
            )
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Provenance:
        """Fields by name; a wrong type raises UserError, an unknown field is left out."""
        kinds: dict[str, Any] = {
            "prompt": str,
            "model": str,
            "weights_hash": str,
            "version": str,
            "settings": Mapping,
        }
        for name, kind in kinds.items():
            if name in data and not isinstance(data[name], kind):
                raise UserError(
                    f"the provenance field {name} is {type(data[name]).__name__}: expected {kind.__name__}"
                )
        seed = data.get("seed")
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise UserError(f"the provenance field seed is {type(seed).__name__}: expected an integer")
        known = {name: data[name] for name in kinds if name in data}
        known["settings"] = dict(known.get("settings", {}))
        known.setdefault("version", "")
        return cls(seed=seed, **known)

    def to_parameters(self) -> str:
        """What the community's image tools show under `parameters`: the prompt, then `Steps: 20, Seed: 7`."""
        settings = dict(self.settings)
        lines = [self.prompt]
        negative = settings.pop("negative_prompt", "")
        if negative:
            lines.append(f"Negative prompt: {negative}")
        parts = [
            f"{word}: {settings[key]}" for key, word in _PARAMETERS.items() if settings.get(key) is not None
        ]
        if self.seed is not None:
            parts.append(f"Seed: {self.seed}")
        if settings.get("width") and settings.get("height"):
            parts.append(f"Size: {settings['width']}x{settings['height']}")
        if self.weights_hash:
            parts.append(f"Model hash: {self.weights_hash[:10]}")
        if self.model:
            parts.append(f"Model: {_public(self.model)}")
        parts.append(f"Version: kinema {self.version}")
        return "\n".join([*lines, ", ".join(parts)])

    def _plain(self) -> dict[str, Any]:
        return {
            "model": _public(self.model),
            "prompt": self.prompt,
            "seed": self.seed,
            "settings": _public(self.settings),
            "version": self.version,
            "weights_hash": self.weights_hash,
        }


def _public(value: Any) -> Any:
    """The value with every private path cut to its last part."""
    if isinstance(value, Mapping):
        return {str(_public(key)): _public(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_public(item) for item in value]
    if isinstance(value, PurePath):
        return value.name
    if isinstance(value, str) and _PRIVATE.match(value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def provenance_in(metadata: Mapping[str, Any]) -> Provenance | None:
    """`metadata["kinema"]` as a Provenance; a mapping or JSON text is taken as well."""
    value = metadata.get("kinema")
    if value is None or isinstance(value, Provenance):
        return value
    if isinstance(value, str):
        return Provenance.from_json(value)
    if isinstance(value, Mapping):
        return Provenance.from_dict(value)
    raise UserError(
        f'metadata["kinema"] is {type(value).__name__}: expected a Provenance, a mapping or JSON text'
    )


def pack(provenance: Provenance | None, **extra: Any) -> str | None:
    """The JSON of a comment field: `{"kinema": {...}, ...extra}`; None when there is nothing to say."""
    record = dict(extra)
    if provenance is not None:
        record["kinema"] = json.loads(provenance.to_json())
    return json.dumps(record, sort_keys=True) if record else None


def unpack(text: str | None) -> tuple[Provenance | None, dict[str, Any]]:
    """What `pack` wrote, as (provenance, extra). A comment that is not ours, or damaged, gives (None, {})."""
    if not text or len(text) > 4 * MAX_BYTES:
        return None, {}
    try:
        record = json.loads(text)
        if not isinstance(record, dict):
            return None, {}
        ours = record.pop("kinema", None)
        return (Provenance.from_dict(ours) if isinstance(ours, dict) else None), record
    except (ValueError, RecursionError):
        return None, {}
