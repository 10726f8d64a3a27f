"""What the nano Omnivore finds across kinds: pictures for depth, with colours and alone, and clips for pictures.

    python experiments/omnivore/across_kinds.py [--out DIR] [--scenes 1500]

Queries and what they are held against are held-out scenes, none in both. Prints accuracies of the heads, with depth
alone too, and precision@5 over all queries beside neighbours in any order; writes a sheet of the first pictures and
their nearest clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kinema
from kinema.eval.neighbours import nearest, precision
from kinema.media.sheet import PAPER, contact_sheet
from kinema.media.video import Video
from kinema.systems.omnivore.recipe import measured
from kinema.systems.omnivore.sources import FAMILIES, NANO, THINGS, normalised, relative, world_sources
from kinema.world.pictures import Rendered, clips, disparity, pictures

SIDE, SHOWN, ROWS, APART = 64, 6, 4, 100_000


def features(see: Any, pixels: Tensor) -> Tensor:
    """(N, D) of pixels in [0, 1], (N, 3 or 4, T, S, S)."""
    rows = [see.features(normalised(part, see.preprocessing)) for part in pixels.split(32)]
    return torch.cat(rows).float()


def strip(pixels: Tensor, frames: int = 1) -> Video:
    """(3, T, S, S) in [0, 1] as something to show; a picture among clips leaves the places of other frames empty."""
    if pixels.shape[1] == 1 < frames:
        paper = (torch.tensor(PAPER) / 255).view(3, 1, 1, 1).expand(-1, frames - 1, SIDE, SIDE)
        pixels = torch.cat([pixels, paper], 1)
    shown = (pixels.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()
    return Video(np.ascontiguousarray(shown.repeat(2, 1).repeat(2, 2)), 4.0)


def name(scenes: Rendered, place: int) -> str:
    """What a scene is about."""
    return scenes.scenes[place].subject.name


def sheet(
    queries: Tensor,
    asked: list[str],
    gallery: Tensor,
    names: Rendered,
    found: Any,
    frames: int,
    path: Path,
) -> None:
    """One row a query: the query, then what is nearest."""
    shown, captions = list[Video](), list[str]()
    for row in range(ROWS):
        shown.append(strip(queries[row], frames))
        captions.append(asked[row])
        for place, likeness in zip(found.indices[row], found.similarity[row], strict=True):
            shown.append(strip(gallery[place]))
            captions.append(f"{float(likeness):.2f} {name(names, int(place))}")
    contact_sheet(shown, captions, SHOWN + 1, frames=frames, frame_height=80, font_size=12).write(
        path, overwrite=True
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "docs/images/omnivore")
    parser.add_argument("--scenes", type=int, default=1500)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    see, count, asked = kinema.load("omnivore"), given.scenes, max(given.scenes // 5, ROWS)

    sources = world_sources(SIDE, see.preprocessing.frames, 1, "val")
    with torch.inference_mode():
        rates = measured(see.network, sources, see.preprocessing, -(-count // 32))
    print("right on held-out scenes:", {kind: round(rate, 3) for kind, rate in rates.items()})

    seen = pictures(range(count), "val", SIDE, NANO)
    depth = pictures(range(APART, APART + asked), "val", SIDE, NANO)
    maps = relative(disparity(depth.scenes, SIDE))
    both = torch.cat([depth.pixels.float() / 255, maps[:, None, None]], 1)
    gallery = features(see, seen.pixels.float() / 255)
    report(features(see, both), gallery, depth, seen, "object", THINGS, "pictures with depth to pictures")
    blind = normalised(both, see.preprocessing)
    blind[:, :3] = 0  # no colours at all
    queries = torch.cat([see.features(part) for part in blind.split(32)]).float()
    guessed = see.network.heads["rgbd"](queries).argmax(1)
    print(f"right of depth alone: {accuracy_of(guessed, depth):.3f}")
    report(queries, gallery, depth, seen, "family", FAMILIES, "depth alone to pictures")

    moving = clips(range(count), "val", 8, SIDE, NANO)
    still = pictures(range(APART, APART + asked), "val", SIDE, NANO)
    queries, gallery = (features(see, each.pixels.float() / 255) for each in (still, moving))
    report(queries, gallery, still, moving, "object", THINGS, "pictures to clips")
    found = nearest(queries, gallery, SHOWN)
    named = [f"picture of: {name(still, k)}" for k in range(ROWS)]
    sheet(
        still.pixels.float() / 255,
        named,
        moving.pixels.float() / 255,
        moving,
        found,
        2,
        given.out / "picture_to_clips.webp",
    )


def accuracy_of(guessed: Tensor, shown: Rendered) -> float:
    """The share of scenes whose family was guessed."""
    return float((guessed == shown.labels("family", FAMILIES)).float().mean())


def report(
    queries: Tensor,
    gallery: Tensor,
    asked: Rendered,
    held: Rendered,
    attribute: str,
    classes: tuple[str, ...],
    what: str,
) -> None:
    """Precision@5 of an attribute, and that of neighbours in any order."""
    wanted, there = asked.labels(attribute, classes), held.labels(attribute, classes)
    shares = [torch.bincount(labels, minlength=len(classes)) / len(labels) for labels in (wanted, there)]
    rate = precision(nearest(queries, gallery, 5), wanted, there)
    print(
        f"{what}, {attribute}: precision@5 {rate:.3f}, in any order {float((shares[0] * shares[1]).sum()):.3f}"
    )


if __name__ == "__main__":
    main()
