"""`kinema models` and `kinema info`: what there is, without loading any of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kinema.cli.shell import Json, print_json


def models(as_json: Json = False) -> None:
    """List the models."""
    from kinema.hub import MODELS, describe

    if as_json:
        print_json({"models": [describe(entry) for entry in MODELS.values()]})
        return
    width = max(len(name) for name in MODELS)
    for name, entry in MODELS.items():
        missing = entry.nano_weights is not None and entry.nano_path is None
        print(f"{name:{width}}  {entry.summary}{' (nano weights are not in this copy)' if missing else ''}")


def info(
    name: Annotated[str, typer.Argument(help="A name from `kinema models`.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Say what a model is: its paper, sizes, weights and licences."""
    from kinema.hub import describe, find

    facts = describe(find(name))
    if as_json:
        print_json(facts)
        return
    print(f"{facts['title']} ({facts['name']})")
    print(f"  {facts['summary']}")
    for label in (
        "paper",
        "presets",
        "commands",
        "nano_weights",
        "official_weights",
        "published",
        "code_licence",
        "weights_licence",
    ):
        if facts[label] != []:
            print(f"  {label.replace('_', ' '):17} {_phrase(label, facts[label])}")


def _phrase(label: str, value: Any) -> str:
    if label == "nano_weights":
        if value is None:
            return "none in this copy"
        return f"{value['parameters']:,} values, {value['mebibytes']} MiB, {value['hash']}"
    return ", ".join(value) if isinstance(value, list) else str(value)
