"""One picture of what finetuning changed: held-out emoji as they are, as nano makes them, as the finetuned model does.

    python compare.py fluent_set/heldout runs/fluent/final/model.safetensors --out fluent_emoji.png

Both models get the same prompts and the same noise. Rows are taken evenly from prompts.txt, not chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

import kinema
from kinema.data import open_dataset
from kinema.data.clips import resize_crop
from kinema.errors import UserError
from kinema.hub import find, load, resolve_weights
from kinema.media import Image, Provenance, Video
from kinema.media.sheet import INK, PAPER, wrapped
from kinema.weights import weights_hash

MODEL = "movie-gen-video-nano"
SOFT = (112, 112, 118)  # headings, under the ink of the captions
FRAME, GAP, BETWEEN, MARGIN = (
    88,
    3,
    26,
    36,
)  # pixels: a frame's side, between frames, between strips, page edge
TEXT, HEADING = 19, 18
HEADINGS = ("the true clip, never trained on", "before: nano as it comes", "after: finetuned on the others")


@dataclass(frozen=True)
class Row:
    """A prompt and its clips, one a column."""

    prompt: str
    clips: tuple[Video, ...]


def held_out(folder: Path, count: int) -> list[tuple[str, Video]]:
    """`count` prompts of FOLDER/prompts.txt, evenly from first to last, each with the clip that it describes."""
    prompts = (folder / "prompts.txt").read_text(encoding="utf-8").splitlines()
    dataset = open_dataset(folder)
    by_caption = {text: folder / s.key for s in reversed(dataset.samples) for text in s.captions}
    missing = [prompt for prompt in prompts if prompt not in by_caption]
    if missing or not prompts or count < 1:
        reason = (
            f"'{missing[0]}' is no clip's caption" if missing else f"{len(prompts)} prompts, {count} rows"
        )
        raise UserError(
            f"{folder}/prompts.txt does not fit its clips ({reason}): make the folder with prepare.py"
        )
    chosen = dict.fromkeys(
        np.linspace(0, len(prompts) - 1, min(count, len(prompts))).round().astype(int).tolist()
    )
    return [(prompts[i], Video.read(by_caption[prompts[i]])) for i in chosen]


def generated(pipeline: Any, prompts: Sequence[str], seed: int, **settings: Any) -> list[Video]:
    """One clip a prompt, made alone; row r starts from the noise of seed + r."""
    clips = []
    for row, prompt in enumerate(prompts):
        (made,) = pipeline.generate([prompt], seeds=[seed + row], **settings)
        clips.append(made.video)
    return clips


def strip(video: Video, count: int, side: int) -> PIL.Image.Image:
    """`count` frames of a looping clip side by side, brought to `side` pixels (what a model sees) and enlarged."""
    page = PIL.Image.new("RGB", (count * (FRAME + GAP) - GAP, FRAME), PAPER)
    for slot in range(count):
        frame = resize_crop(video.frames[slot * video.num_frames // count], side, side)
        picture = PIL.Image.fromarray(frame).resize((FRAME, FRAME), PIL.Image.Resampling.LANCZOS)
        page.paste(picture, (slot * (FRAME + GAP), 0))
    return page


def draw(rows: Sequence[Row], headings: Sequence[str], frames: int = 5, footer: str = "") -> PIL.Image.Image:
    """The page: headings above the columns, every row's strips with its prompt beneath, a line at the foot."""
    text, heading = ImageFont.load_default(TEXT), ImageFont.load_default(HEADING)
    width, columns = frames * (FRAME + GAP) - GAP, len(headings)
    inside = columns * width + (columns - 1) * BETWEEN
    lefts = [MARGIN + column * (width + BETWEEN) for column in range(columns)]
    titles = [wrapped(words, heading, width) for words in headings]
    notes = wrapped(footer, heading, inside)
    line, row_height = round(TEXT * 1.35), FRAME + round(TEXT * 2.4)
    top = MARGIN + max(map(len, titles)) * line + 8
    bottom = top + len(rows) * (row_height + 12)
    page = PIL.Image.new("RGB", (inside + 2 * MARGIN, bottom + len(notes) * line + MARGIN - 12), PAPER)
    pen = ImageDraw.Draw(page)
    for left, lines in zip(lefts, titles, strict=True):
        for number, words in enumerate(lines):
            pen.text((left, MARGIN + number * line), words, font=heading, fill=SOFT)
    for number, row in enumerate(rows):
        upper = top + number * (row_height + 12)
        side = min(clip.height for clip in row.clips)
        for left, clip in zip(lefts, row.clips, strict=True):
            page.paste(strip(clip, frames, side), (left, upper))
        (prompt, *_) = wrapped(row.prompt, text, inside, max_lines=1)
        pen.text((MARGIN, upper + FRAME + 8), prompt, font=text, fill=INK)
    for number, words in enumerate(notes):
        pen.text((MARGIN, bottom + number * line), words, font=heading, fill=SOFT)
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when the picture is written, 2 when it could not be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("heldout", type=Path, help="the folder that prepare.py wrote")
    parser.add_argument("after", help="the finetuned weights")
    parser.add_argument("--before", default="nano", help="the weights it started from (nano)")
    parser.add_argument(
        "--out", type=Path, default=Path("fluent_emoji.png"), help="the picture (fluent_emoji.png)"
    )
    parser.add_argument("--rows", type=int, default=8, help="how many prompts (8)")
    parser.add_argument("--seed", type=int, default=0, help="the first row's seed (0)")
    parser.add_argument("--steps", type=int, default=50, help="solver steps (50)")
    parser.add_argument("--guidance-scale", type=float, default=2.5, help="guidance (2.5)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace the picture")
    given = parser.parse_args(arguments)
    try:
        truth = held_out(given.heldout, given.rows)
        prompts = [prompt for prompt, _ in truth]
        settings = {"steps": given.steps, "guidance_scale": given.guidance_scale}
        hashes, columns = {}, [[clip for _, clip in truth]]
        for which in ("before", "after"):
            weights = getattr(given, which)
            hashes[which] = weights_hash(resolve_weights(find(MODEL), weights))
            columns.append(generated(load(MODEL, weights, given.device), prompts, given.seed, **settings))
        rows = [Row(prompt, tuple(clips)) for prompt, *clips in zip(prompts, *columns, strict=True)]
        footer = f"seed {given.seed} and up, {given.steps} steps, guidance {given.guidance_scale:g}"
        provenance = Provenance(
            prompt="; ".join(prompts),
            seed=given.seed,
            model=MODEL,
            weights_hash=hashes["after"],
            version=kinema.__version__,
            settings={**settings, "weights_hash_before": hashes["before"]},
        )
        page = draw(rows, HEADINGS, footer=footer)
        Image(np.array(page, dtype=np.uint8), {"kinema": provenance}).write(
            given.out, overwrite=given.overwrite
        )
    except (UserError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
