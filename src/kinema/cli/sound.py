"""`kinema sound`: a clip in, the same picture with other sound out."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.cli import making
from kinema.cli.outputs import check_output
from kinema.cli.shell import Device, Json, Weights, print_json
from kinema.cli.sounding import NAME, Wish, check_wish, make_sound, open_sound, told
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.media import Sound, Video

LOOK = 256  # the longer side, in pixels, at which a clip is looked at; the written picture is the clip's own


def sound(
    clip: Annotated[Path, typer.Argument(help="A video file.", show_default=False)],
    prompt: Annotated[
        str, typer.Option("--prompt", help="What is heard; without it the picture alone decides.")
    ] = "",
    music: Annotated[
        str, typer.Option("--music", help="Mood and genre of instrumental music to play, besides --prompt.")
    ] = "",
    extend: Annotated[
        float | None,
        typer.Option("--extend", help="Keep the clip's sound and go on for so many seconds after its end."),
    ] = None,
    infill: Annotated[
        str | None,
        typer.Option(
            "--infill", help="Keep the clip's sound but for what lies from second A to second B: A:B."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The .mp4 to write; default: CLIP with _sound in its name."),
    ] = None,
    quality: Annotated[
        float,
        typer.Option("--quality", help="How clean it is said to be, 1 to 10; nano is trained with 4 and 8."),
    ] = 8.0,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Solver steps; default: the model's own.")
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option("--guidance-scale", help="How hard picture and words pull; 1 is no guidance."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the noise.")] = 0,
    candidates: Annotated[
        int,
        typer.Option(
            "--candidates", help="Make so many, and keep the one that fits picture and words best by ear."
        ),
    ] = 1,
    weights: Weights = "nano",
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it is there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put sound under a clip: ambience, effects and instrumental music, no speech and no song.

    The clip itself is not touched. Its picture is copied into a new file, or encoded again at the same rate where MP4
    cannot hold it; its own sound is replaced, but for --extend and --infill. Surround sound is mixed down to stereo,
    and any rate is brought to the model's. Clips of up to ten minutes; the nano model learns the Small World alone.
    """
    from kinema import hub
    from kinema.media.soundtrack import write_soundtrack

    output = clip.parent / f"{clip.stem}_sound.mp4" if output is None else output
    check_output(output, (".mp4",), overwrite)
    if output.exists() and clip.exists() and output.samefile(clip):
        raise UserError(f"'{output}' is the clip itself: choose another name for the one with sound")
    wish = check_wish(
        Wish(
            prompt=prompt,
            music=music,
            quality=quality,
            seed=seed,
            steps=steps,
            guidance_scale=guidance_scale,
            candidates=candidates,
        )
    )
    gap = None if infill is None else parse_gap(infill)
    if extend is not None and not 0 < extend < math.inf:
        raise UserError(f"--extend is {extend:g} and must be more than 0 seconds")
    if gap is not None and extend is not None:
        raise UserError("--infill and --extend were both given: use one, then the other on what it wrote")
    if candidates > 1 and (gap is not None or extend is not None):
        flag = "--extend" if gap is None else "--infill"
        raise UserError(f"--candidates chooses among whole sounds: leave out {flag}, or --candidates")
    check_clip(clip)
    hub.resolve_weights(hub.find(NAME), weights)
    hub.resolve_device(device)
    video = look(clip)
    own = check_track(clip, video, gap, extend)

    model = open_sound(weights, device)
    on_step = making.counter("step ", steps, shown=not as_json)
    began = time.perf_counter()
    made = make_sound(model, video, wish, own, gap, extend, on_step)
    seconds = time.perf_counter() - began
    making.end_counter(on_step)
    record = told(model, video, wish, to="file", infill=gap, extend=extend)
    output.parent.mkdir(parents=True, exist_ok=True)
    copied = write_soundtrack(clip, output, made, record, overwrite)

    notices = list(own.metadata.get("notes", ())) if own is not None else []
    if video.sound is not None and own is None:
        notices.append("the clip's own sound is not in the new file")
    if not copied:
        notices.append("the picture was encoded again, since MP4 cannot hold it as it was")
    if as_json:
        print_json(
            {
                "clip": str(clip),
                "file": str(output),
                "num_frames": video.num_frames,
                "fps": video.fps,
                "picture_seconds": round(video.seconds, 3),
                "picture_copied": copied,
                "sound_seconds": round(made.seconds, 3),
                "seconds": round(seconds, 2),
                "notices": notices,
            }
        )
        return
    print(f"wrote {output} ({made.seconds:.2f} s of sound under {video.num_frames} frames, {seconds:.1f} s)")
    for notice in notices:
        print(f"  note: {notice}")


def parse_gap(text: str) -> tuple[float, float]:
    """`A:B` in seconds, B after A."""
    first, _, last = text.partition(":")
    try:
        start, end = float(first), float(last)
    except ValueError:
        raise UserError(
            f"--infill is '{text}' and was not understood: write A:B in seconds, such as 1.5:2"
        ) from None
    if not 0 <= start < end < math.inf:
        why = "has no length" if start == end else "does not run forward from 0 or later"
        raise UserError(f"--infill {text} {why}: write A:B in seconds with B after A, such as 1.5:2")
    return start, end


def check_clip(clip: Path) -> None:
    """Refuse, before anything is decoded or loaded, what is no video by its header, or too long."""
    from kinema.media.decode import open_video
    from kinema.media.files import opened, sniff
    from kinema.systems.movie_gen.audio.pipeline import LONGEST

    with opened(clip) as handle:
        if sniff(handle, str(clip)).family == "image":
            return
        with open_video(handle, str(clip)) as reader:
            if reader.seconds > LONGEST:
                raise _length_error(clip, reader.seconds)


def look(clip: Path) -> Video:
    """The clip at the size at which it is looked at. Raises UserError for what no sound can be made for."""
    from kinema.media import Video
    from kinema.systems.movie_gen.audio.pipeline import LONGEST, SHORTEST

    video = Video.read(clip, max_side=LOOK)
    if video.num_frames == 1:
        raise UserError(
            f"'{clip}' shows a single picture, and a clip was expected: give one with two frames or more"
        )
    if not SHORTEST <= video.seconds <= LONGEST:
        raise _length_error(clip, video.seconds)
    return video


def _length_error(clip: Path, seconds: float) -> UserError:
    from kinema.systems.movie_gen.audio.pipeline import LONGEST, SHORTEST

    return UserError(
        f"'{clip}' lasts {seconds:.3f} s, and sound is made for clips of {SHORTEST:g} to {LONGEST:g} s: cut it first"
    )


def check_track(
    clip: Path, video: Video, gap: tuple[float, float] | None, extend: float | None
) -> Sound | None:
    """The clip's own sound where it is kept, for a gap as long as the picture at least; None where all is made anew."""
    import numpy as np

    from kinema.systems.movie_gen.audio.pipeline import LONGEST

    if gap is None and extend is None:
        return None
    flag = "--extend" if gap is None else "--infill"
    own = video.sound
    if own is None or own.samples.shape[1] == 0:
        raise UserError(
            f"'{clip}' has no sound, and {flag} keeps what is there: leave out {flag} to make all of it"
        )
    if extend is not None:
        if own.seconds + extend > LONGEST:
            raise UserError(
                f"--extend is {extend:g} and '{clip}' has {own.seconds:.3f} s of sound: together at most {LONGEST:g}"
            )
        return own
    assert gap is not None
    if gap[1] > video.seconds + 1e-3:
        raise UserError(
            f"--infill ends at {gap[1]:g} s and '{clip}' at {video.seconds:.3f} s: give a gap inside it"
        )
    missing = math.ceil(video.seconds * own.rate) - own.samples.shape[1]
    return replace(own, samples=np.pad(own.samples, ((0, 0), (0, max(0, missing)))))
