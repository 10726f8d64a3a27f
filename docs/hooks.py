"""Write the command line's reference from the program itself, each time the documentation is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

MARK = "<!-- every verb, from the program itself -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark by the help of every verb."""
    return markdown.replace(MARK, "\n".join(reference())) if MARK in markdown else markdown


def reference() -> Iterator[str]:
    """Markdown for every verb, in the order of `kinema --help`."""
    from kinema.cli import app

    root = typer.main.get_command(app)
    for words, command in verbs(root, ("kinema",)):
        context = type(root).context_class(command, info_name=" ".join(words))
        paragraphs = [" ".join(text.split()) for text in (command.help or "").split("\n\n")]
        example = (command.epilog or "").replace("\b", "").strip().removeprefix("Example: ")
        yield f"\n## {' '.join(words)}\n"
        yield "\n\n".join(paragraphs) + "\n"
        yield f"```bash\n{example}\n```\n"
        yield "| option | what it does |\n|---|---|"
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record is not None and parameter.name != "help":
                name, text = (cell.replace("|", "\\|").replace("<", "&lt;") for cell in record)
                yield f"| `{record[0].strip()}` | {' '.join(text.split())} |" if name else ""


def verbs(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is not a group, with the words that call it."""
    children = getattr(command, "commands", None)
    if not children:
        yield words, command
        return
    for name, child in children.items():
        yield from verbs(child, (*words, name))
