"""The border between Python and the shell: what a user can cause is a sentence and an exit code, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from kinema.errors import UserError

OK: Final = 0
FAILED: Final = 1
BAD_USAGE: Final = 2
INTERRUPTED: Final = 130

# Typer carries its own copy of click's exceptions in newer versions; the common base is found through a public name.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]
_ClickException: type[Any] = typer.BadParameter.__mro__[2]

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, errors included, for programs to read.")
]
Download = Annotated[
    bool,
    typer.Option("--download", help="With --weights official: fetch them from their owner if not here yet."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Weights = Annotated[
    str, typer.Option("--weights", help="nano (inside the package), official, or a path to weights.")
]

_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full: free some space or write elsewhere",
    errno.EDQUOT: "your disk quota is used up: free some space or write elsewhere",
    errno.EACCES: "permission denied: choose a place that you may write to",
    errno.EPERM: "permission denied: choose a place that you may write to",
    errno.EROFS: "the file system is read-only: write elsewhere",
    errno.ENOENT: "there is no such file or folder: check the path",
    errno.EISDIR: "that is a folder and a file was expected",
    errno.ENOTDIR: "a part of that path is a file and not a folder",
    errno.EEXIST: "it exists already: pass --overwrite or another name",
    errno.ENAMETOOLONG: "the name is too long for the file system: choose a shorter one",
}


def run(app: typer.Typer, args: Sequence[str] | None = None) -> int:
    """Run the application on `args` (default: the process's own) and return the exit code."""
    arguments = list(sys.argv[1:] if args is None else args)
    as_json = "--json" in arguments
    try:
        code = app(args=arguments, prog_name="kinema", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except _ClickException as error:
        return _complain(_usage(error), as_json)
    except UserError as error:
        return _complain(str(error), as_json)
    except OSError as error:
        return _complain(explain_os_error(error), as_json)
    except (KeyboardInterrupt, typer.Abort):
        print("kinema: stopped", file=sys.stderr)
        return INTERRUPTED
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        return _complain(
            "there is not enough memory for this: ask for a smaller size, fewer frames or a smaller preset",
            as_json,
        )


def explain_os_error(error: OSError) -> str:
    """One sentence for an error of the operating system: the file, what is wrong, the way out."""
    reason = _REMEDIES.get(error.errno or 0) or (error.strerror or str(error) or type(error).__name__)
    return f"'{os.fsdecode(error.filename)}': {reason}" if isinstance(error.filename, str | bytes) else reason


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def _complain(message: str, as_json: bool) -> int:
    sentence = " ".join(message.split())
    if as_json:
        print_json({"error": {"message": sentence}})
    else:
        print(f"kinema: {sentence}", file=sys.stderr)
    return BAD_USAGE


def _usage(error: Any) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return (
        f"{message}; see `{context.command_path} --help`"
        if isinstance(error, _UsageError) and context
        else message
    )


def _is_out_of_memory(error: RuntimeError) -> bool:
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
