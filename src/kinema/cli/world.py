"""`kinema world show`: look at scenes of the Small World."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinema.cli.outputs import IMAGE_SUFFIXES, check_output
from kinema.cli.shell import Json, print_json
from kinema.errors import UserError

_MOST = 64


def show(
    split: Annotated[str, typer.Option("--split", help="train, val, test-pairs or test-objects.")] = "train",
    start: Annotated[int, typer.Option("--start", "--seed", help="The first scene's number.")] = 0,
    count: Annotated[int, typer.Option("--count", help="How many scenes.")] = 8,
    signs: Annotated[bool, typer.Option("--signs", help="Scenes with a sign that says a word.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .png to write.")] = Path("world.png"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it is there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw scenes as film strips with their captions.

    A scene is a pure function of the split and its number: the same everywhere, without any file.
    """
    if not 1 <= count <= _MOST:
        raise UserError(f"--count is {count} and must lie between 1 and {_MOST}")
    check_output(output, IMAGE_SUFFIXES, overwrite)
    from kinema.media import Video, contact_sheet
    from kinema.world import WorldSpec, caption, sample_scene
    from kinema.world.renderer import render

    spec = WorldSpec(sign_odds=1.0 if signs else 0.0)
    scenes = [sample_scene(split, start + number, spec) for number in range(count)]
    clips = [
        Video(clip.permute(1, 2, 3, 0).contiguous().numpy(), scene.fps)
        for clip, scene in zip(render(scenes), scenes, strict=True)
    ]
    captions = [caption(scene) for scene in scenes]
    output.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(clips, captions, columns=1 if count < 4 else 2).write(output, overwrite=overwrite)
    if as_json:
        rows = [{"split": split, "index": start + n, "caption": text} for n, text in enumerate(captions)]
        print_json({"file": str(output), "scenes": rows})
        return
    for number, text in enumerate(captions):
        print(f"{split} {start + number}: {text}")
    print(f"wrote {output}")
