"""A name into a ready system: the table in `model_table` says what exists, `load` builds it.

Only `download=True` touches the network.

    pipeline = kinema.load("movie-gen-video-nano")

This file imports no torch; the room behind a name is imported when it is loaded.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kinema.errors import UserError
from kinema.model_table import MODELS, Entry
from kinema.weights import check_weights_folder, check_weights_path, read_header, weights_hash

__all__ = [
    "MODELS",
    "Entry",
    "closest",
    "describe",
    "find",
    "load",
    "located",
    "resolve",
    "resolve_device",
    "resolve_weights",
]


def find(name: str) -> Entry:
    """The entry of a model; an unknown name is a `UserError` that lists the closest ones."""
    return located(name)[0]


def located(name: str) -> tuple[Entry, str | None]:
    """The entry of a model, and of `ROOM/NAME` the published file: `swag/vit_b16` is SWAG's `vit_b16`.

    `swag`, `swag/nano` and `swag-nano` are all kinema's own small model.
    """
    if name in MODELS:
        return MODELS[name], None
    if f"{name}-nano" in MODELS:  # a system's own name means its smallest model
        return MODELS[f"{name}-nano"], None
    room, slash, published = name.partition("/")
    for entry in MODELS.values():
        if name in entry.aliases:
            return entry, None
        if slash and room == entry.room:
            return entry, _published(entry, published)
    raise UserError(f"there is no model '{name}'; {closest(name, MODELS)}. `kinema models` lists them all")


def _published(entry: Entry, published: str) -> str | None:
    if published == "nano":
        return None
    if published not in entry.published:
        known = [f"{entry.room}/{each}" for each in ("nano", *entry.published)]
        raise UserError(
            f"there is no model '{entry.room}/{published}'; {closest(f'{entry.room}/{published}', known)}. "
            f"`kinema info {entry.name}` lists them"
        )
    return published


def load(
    name: str, weights: str | Path = "nano", device: str = "cpu", download: bool = False, **options: Any
) -> Any:
    """Build a ready pipeline.

    Args:
        name: a name of the table, see `kinema models`.
        weights: `"nano"` for those inside the package, `"official"` for published ones, or a path: to a file, or to
            the folder that was downloaded where a model is published as one.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, or `"auto"` for the best that is there.
        download: allow `"official"` to fetch the file from its owner, where this is known; never without it.
        options: what this model's builder takes besides.

    Raises:
        UserError: the name, the weights or the device do not exist, or the file is damaged or does not fit.
    """
    entry, published = located(name)
    device = resolve_device(device)
    if published is not None:
        given = str(weights) not in ("nano", "official")
        # Without a file the room's own sentence says where this one is offered.
        return resolve(entry.builder)(Path(weights) if given else None, device, name=published, **options)
    path = resolve_weights(entry, weights, download)
    return resolve(entry.builder)(path, device, **options)


def resolve_weights(entry: Entry, weights: str | Path, download: bool = False) -> Path:
    """Turn `"nano"`, `"official"` or a path into what exists and whose header is sound. Imports no torch.

    With `download`, official weights that are not here yet are fetched, where the table says how.
    """
    if entry.nano_weights is None:
        if str(weights) in ("nano", "official"):
            raise UserError(f"the weights of {entry.name} are not inside kinema: {entry.official_weights}")
        path = Path(weights)
        check_weights_folder(path)
        return path
    if str(weights) == "official" and entry.official is not None:
        fetched: Path = resolve(entry.official)(download)
        return fetched
    if str(weights) == "official":
        raise UserError(f"{entry.official_weights}: use weights='nano', or a path to weights of your own")
    if str(weights) == "nano":
        nano = entry.nano_path
        if nano is None and entry.official is not None:
            raise UserError(
                f"this copy of kinema has no nano weights of {entry.name}: use --weights official --download to fetch "
                f"the published ones from their owner, or train some with `kinema train {entry.name} --out RUN` and "
                "pass the file with --weights FILE"
            )
        if nano is None:
            raise UserError(
                f"this copy of kinema lacks the nano weights of {entry.name}: install it again, or train them "
                f"with `kinema train {entry.name} --out RUN` and pass the file with --weights"
            )
        path = nano
    else:
        path = Path(weights)
        check_weights_path(path)
    if path.suffix == ".safetensors":
        read_header(path)
    return path


def resolve_device(device: str) -> str:
    """Check that a device is there; `"auto"` takes CUDA, then MPS, then the CPU."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise UserError(f"'{device}' is not a device: use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"this machine has {torch.cuda.device_count()} CUDA devices, so '{device}' is none of them: use cpu"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("this machine has no MPS device: use cpu")
    return device


def resolve(path: str) -> Callable[..., Any]:
    """Import the function behind `module:function`."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def closest(name: str, known: Iterable[str], count: int = 3) -> str:
    """A phrase that names the known words most like `name`: "did you mean a, b or c?" without the guess being taken."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.0) if known else []
    if not near:
        return "nothing is known here"
    return "the closest are " + ", ".join(near) if len(near) > 1 else f"the closest is {near[0]}"


def describe(entry: Entry) -> dict[str, Any]:
    """What is known of a model without loading it: a plain table, ready for JSON. Imports no torch."""
    facts: dict[str, Any] = {
        "name": entry.name,
        "title": entry.title,
        "summary": entry.summary,
        "commands": list(entry.verbs),
        "presets": list(entry.presets),
        "paper": f"{entry.paper_title}, {entry.paper}",
        "code_licence": entry.code_licence,
        "weights_licence": entry.weights_licence,
        "official_weights": entry.official_weights,
        "published": [f"{entry.room}/{name}" for name in entry.published],
        "nano_weights": None,
    }
    if path := entry.nano_path:
        facts["nano_weights"] = {
            "hash": weights_hash(path),
            "mebibytes": round(path.stat().st_size / 2**20, 1),
            "parameters": read_header(path).num_parameters,
        }
    return facts
