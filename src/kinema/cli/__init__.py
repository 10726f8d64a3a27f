"""The command line. Each verb is one file; torch is imported only by the verbs that compute, when they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from kinema import __version__
from kinema.cli import (
    depth,
    doctor,
    evaluate,
    generate,
    models,
    photo3d,
    plan,
    rerun,
    seeing,
    sound,
    train,
    upsample,
    world,
)
from kinema.cli.shell import run

app = typer.Typer(
    name="kinema",
    help="Media foundation models: make clips, train, judge. Dashes and underscores in option names are alike.",
    epilog='\b\nExample: kinema generate "a red fox bounces to the right, night sky"',
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich alone would take longer to import than all the rest
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "max_content_width": 110,
    },
)

_EXAMPLES = {
    "models": "kinema models",
    "info": "kinema info movie-gen-video-nano",
    "doctor": "kinema doctor",
    "generate": 'kinema generate "a red fox bounces to the right, night sky" -o fox.mp4',
    "rerun": "kinema rerun fox.mp4 -o fox_again.mp4",
    "upsample": "kinema upsample fox.mp4 -o fox_large.mp4",
    "sound": 'kinema sound fox.mp4 --prompt "soft knocks over waves" -o fox_heard.mp4',
    "depth": "kinema depth PHOTO.jpg --weights official --download",
    "photo3d": "kinema photo3d holiday.jpg -o holiday.glb --html holiday.html",
    "classify": "kinema classify photo.jpg fox.mp4",
    "embed": "kinema embed holiday/ -o holiday.npz",
    "search": "kinema search holiday/ photo.jpg --index holiday.safetensors --sheet found.png",
    "plan": "kinema plan movie-gen-video --preset 30b --devices 6144 --device h100",
    "train": "kinema train movie-gen-video-nano --out runs/first --max-steps 100",
    "eval": "kinema eval movie-gen-video-nano --num-prompts 16",
    "world show": "kinema world show --count 6 -o world.png",
}

_verbs: dict[str, Callable[..., None]] = {
    "models": models.models,
    "info": models.info,
    "doctor": doctor.doctor,
    "generate": generate.generate,
    "rerun": rerun.rerun,
    "upsample": upsample.upsample,
    "sound": sound.sound,
    "depth": depth.depth,
    "photo3d": photo3d.photo3d,
    "classify": seeing.classify,
    "embed": seeing.embed,
    "search": seeing.search,
    "plan": plan.plan,
    "train": train.train,
    "eval": evaluate.evaluate,
}
for verb, function in _verbs.items():
    app.command(verb, epilog=f"\b\nExample: {_EXAMPLES[verb]}")(function)

_world = typer.Typer(no_args_is_help=True, help="Look at the Small World, which the nano models learn.")
_world.command("show", epilog=f"\b\nExample: {_EXAMPLES['world show']}")(world.show)
app.add_typer(_world, name="world", epilog=f"\b\nExample: {_EXAMPLES['world show']}")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kinema {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and stop."),
    ] = False,
) -> None:
    """Hold the options that stand before the verb."""


def main() -> None:
    """Run the command line; the process ends with 0 (done), 1 (the run failed) or 2 (bad usage or input)."""
    raise SystemExit(run(app))
