"""Animated Fluent emoji as a folder of captioned clips that `kinema train movie-gen-video --data` takes.

    python prepare.py ANIMATIONS NAMES OUT

ANIMATIONS and NAMES are the unpacked npm packages @lobehub/fluent-emoji-anim-1 and emojibase-data. The same packages
and options give the same files. README.md beside this script says how to get the packages.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageSequence

from kinema.data import Sample, split_of
from kinema.data.sample import FileSource
from kinema.errors import UserError
from kinema.media import Video

BACKGROUND = (206, 222, 236)  # a soft blue on which yellow faces, white clouds and grey mice all stand out
NUM_FRAMES, FPS = 16, 8.0
TONES = ("", "light", "medium-light", "medium", "medium-dark", "dark")
CAPTIONS = ("an animated emoji of {}", "{}, an animated emoji on a plain background", "{}")
# Labels that an article alone does not make into English.
SPOKEN = {
    "Santa Claus": "Santa Claus",
    "bottle with popping cork": "a bottle with a popping cork",
    "busts in silhouette": "two busts in silhouette",
    "clapping hands": "clapping hands",
    "clinking beer mugs": "clinking beer mugs",
    "couple with heart: man, man": "two men with a heart",
    "crossed flags": "crossed flags",
    "eyes": "a pair of eyes",
    "fog": "fog",
    "footprints": "footprints",
    "horse racing": "a jockey racing on a horse",
    "man feeding baby": "a man feeding a baby",
    "man in manual wheelchair": "a man in a manual wheelchair",
    "man in motorized wheelchair": "a man in a motorized wheelchair",
    "man with white cane": "a man with a white cane",
    "man: bald": "a bald man",
    "milky way": "the milky way",
    "musical notes": "musical notes",
    "open hands": "open hands",
    "paw prints": "paw prints",
    "sun behind large cloud": "a sun behind a large cloud",
    "sun behind rain cloud": "a sun behind a rain cloud",
    "sun behind small cloud": "a sun behind a small cloud",
    "sun with face": "a sun with a face",
    "teacup without handle": "a teacup without a handle",
}
NOTICE = """The clips in this folder are made from Fluent Emoji by Microsoft Corporation, as packaged by LobeHub in the
npm package @lobehub/fluent-emoji-anim-1 (MIT License, copyright 2023 LobeHub): laid on a plain background, made
smaller and re-timed. Their captions come from emojibase-data. The MIT License:

"""


@dataclass(frozen=True)
class Emoji:
    """What emojibase says of one file: the label of its base emoji, that one's code, and the skin tone."""

    label: str
    base: str
    tone: int = 0  # 0 none, else an index into TONES

    @property
    def thing(self) -> str:
        """ "a waving hand with dark skin"."""
        words = spoken(self.label)
        if not self.tone:
            return words
        return f"{words} {'and' if ' with ' in words else 'with'} {TONES[self.tone]} skin"


def spoken(label: str) -> str:
    """An emoji's label as a noun phrase: "ox" -> "an ox", "man: red hair" -> "a man with red hair"."""
    if label in SPOKEN:
        return SPOKEN[label]
    head, colon, rest = label.partition(": ")
    if head == "family" and colon:
        return f"a family of {listed(rest.split(', '))}"
    text = f"{head} with {rest}" if colon else head
    text = text.replace("backhand index pointing", "hand pointing")
    vowel = text[0].lower() in "aeiou" and not text.lower().startswith(("ewe", "uni", "euro", "one"))
    return f"{'an' if vowel else 'a'} {text}"


def listed(people: Sequence[str]) -> str:
    """["man", "boy", "boy"] -> "a man and two boys"."""
    plural = {"man": "men", "woman": "women"}
    words = [
        spoken(name) if count == 1 else f"two {plural.get(name, name + 's')}"
        for name, count in Counter(people).items()
    ]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def read_names(folder: Path) -> dict[str, Emoji]:
    """File name without its end -> Emoji, from emojibase's English data; codes stand with and without -fe0f."""
    table = folder / "en" / "data.json"
    try:
        entries: list[Mapping[str, Any]] = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{table} cannot be read ({error}): NAMES is the unpacked npm package emojibase-data"
        ) from None
    found: dict[str, Emoji] = {}
    for entry in entries:
        base = short_code(entry["hexcode"])
        for one in (entry, *entry.get("skins", [])):
            tone = one.get("tone", 0)
            if isinstance(tone, int):  # two people of two tones have a list, and no animation
                found[short_code(one["hexcode"])] = Emoji(entry["label"], base, tone)
    return found


def short_code(code: str) -> str:
    """An emoji's code points in lower case without variation selectors, which the packages set differently."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def read_loop(path: Path, size: int) -> npt.NDArray[np.uint8] | None:
    """One clip uint8 (NUM_FRAMES, size, size, 3), or None when the picture stands still.

    The animation plays a whole number of times, as near to its own pace as that allows.
    """
    with PIL.Image.open(path) as image:
        if getattr(image, "n_frames", 1) < 2:
            return None
        pictures, ends = list[PIL.Image.Image](), list[float]()
        for picture in ImageSequence.Iterator(image):
            layer = picture.convert("RGBA")
            paper = PIL.Image.new("RGBA", layer.size, (*BACKGROUND, 255))
            pictures.append(PIL.Image.alpha_composite(paper, layer).convert("RGB"))
            ends.append((ends[-1] if ends else 0.0) + picture.info["duration"] / 1000)
    repeats = max(1, round(NUM_FRAMES / FPS / ends[-1]))
    moments = (np.arange(NUM_FRAMES) * repeats / NUM_FRAMES % 1.0) * ends[-1]
    shown = np.searchsorted(ends, moments + 1e-6, side="right")
    resized = [pictures[i].resize((size, size), PIL.Image.Resampling.BOX) for i in shown]
    return np.stack([np.asarray(picture, dtype=np.uint8) for picture in resized])


def motion(frames: npt.NDArray[np.uint8]) -> float:
    """Mean absolute change of a pixel (0 to 255) over a quarter of a second, round the loop."""
    now = frames.astype(np.float32)
    return float(np.abs(np.roll(now, -round(FPS / 4), axis=0) - now).mean())


def prepare(
    animations: Path, names: Path, out: Path, *, heldout: float, seed: int, least_motion: float, size: int
) -> dict[str, int]:
    """Write OUT/train, OUT/heldout and the licence; returns how many files went where.

    Skin tones of one emoji are kept or dropped together (by their mean motion) and share a side of the split.
    """
    licence = names / "LICENSE"
    known, sources = read_names(names), sorted((animations / "assets").glob("*.webp"))
    if not sources:
        raise UserError(
            f"{animations}/assets has no .webp files: ANIMATIONS is the unpacked package fluent-emoji-anim-1"
        )
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: name a new folder, or delete it first")
    counts = Counter({"files": len(sources)})
    groups: dict[str, list[tuple[Path, Emoji]]] = {}
    for source in sources:
        emoji = known.get(short_code(source.stem))
        if emoji is None:
            counts["without a name"] += 1
        else:
            groups.setdefault(emoji.base, []).append((source, emoji))

    rows: dict[str, list[dict[str, Any]]] = {"train": [], "heldout": []}
    prompts = []
    for base, members in groups.items():
        clips = [(emoji, frames) for path, emoji in members if (frames := read_loop(path, size)) is not None]
        counts["still"] += len(members) - len(clips)
        if not clips:
            continue
        moved = float(np.mean([motion(frames) for _, frames in clips]))
        if moved < least_motion:
            counts["too little motion"] += len(clips)
            continue
        side = split_of(Sample(base, (), FileSource(out), group=f"{seed}:{base}"), heldout)
        (out / side).mkdir(parents=True, exist_ok=True)
        for emoji, frames in sorted(clips, key=lambda clip: clip[0].tone):
            name = f"{base}{f'-{TONES[emoji.tone]}' if emoji.tone else ''}.mp4"
            Video(frames, FPS).write(out / side / name)
            texts = [text.format(emoji.thing) for text in CAPTIONS]
            row = {"file_name": name, "captions": texts, "group": base, "motion": round(moved, 2)}
            rows[side].append(row)
        counts[side] += len(clips)
        counts[f"{side} groups"] += 1
        if side == "heldout":
            prompts.append(rows[side][-len(clips)]["captions"][0])
    for part, found in rows.items():
        if not found:
            raise UserError(f"no clip is left for {part}: change --heldout or --motion")
        write_lines(out / part / "metadata.jsonl", (json.dumps(row) for row in found))
    write_lines(out / "heldout" / "prompts.txt", prompts)
    terms = licence.read_text(encoding="utf-8") if licence.is_file() else "MIT License\n"
    (out / "LICENSE.txt").write_text(NOTICE + terms, encoding="utf-8")
    return dict(counts)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """One line each, ended by a newline, in UTF-8."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when the folder is written, 2 when it could not be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("animations", type=Path, help="the unpacked package @lobehub/fluent-emoji-anim-1")
    parser.add_argument("names", type=Path, help="the unpacked package emojibase-data")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--heldout", type=float, default=0.1, help="share of emoji held out (0.1)")
    parser.add_argument("--seed", type=int, default=2, help="which ones they are (2)")
    parser.add_argument("--motion", type=float, default=2.5, help="least mean change of a pixel (2.5)")
    parser.add_argument("--size", type=int, default=128, help="side of a clip in pixels (128)")
    given = parser.parse_args(arguments)
    try:
        counts = prepare(
            given.animations,
            given.names,
            given.out,
            heldout=given.heldout,
            seed=given.seed,
            least_motion=given.motion,
            size=given.size,
        )
    except (UserError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(", ".join(f"{name}: {count}" for name, count in counts.items()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
