"""The pictures of the page on SWAG: tags of held-out scenes, and what is nearest to some of them.

python experiments/swag/swag_page_pictures.py WEIGHTS --out docs/images/swag
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from kinema.eval.neighbours import nearest
from kinema.systems.swag.pipeline import load
from kinema.systems.swag.zero_shot import KnownTags
from kinema.world.hashtags import true_tags
from kinema.world.pictures import Rendered, pictures

SHOWN, NEAREST, GALLERY, LARGE = 10, 6, 3000, 256


def embedded(path: Path, shown: Rendered) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and logits of pictures as the file's network sees them."""
    see = load(path)
    x = see.preprocessing.normalise(shown.pixels[:, :, 0].float() / 255)
    return (
        torch.cat([see.features(part) for part in x.split(64)]),
        torch.cat([see.model(part) for part in x.split(64)]),
    )


def tags_picture(weights: Path, out: Path, first: int) -> None:
    """Pictures with their four likeliest tags; those that are true are green."""
    from matplotlib import pyplot

    known, size = KnownTags.of(weights), load(weights).preprocessing.size
    numbers = range(first, first + SHOWN)
    shown, large = pictures(numbers, "val", size), pictures(numbers, "val", LARGE)
    logits = embedded(weights, shown)[1]
    figure, axes = pyplot.subplots(2, SHOWN // 2, figsize=(9.6, 5.0), layout="constrained")
    for axis, pixels, scene, row in zip(axes.flat, large.pixels[:, :, 0], shown.scenes, logits, strict=True):
        axis.imshow(pixels.permute(1, 2, 0).numpy())
        axis.axis("off")
        right = set(known.vocabulary.encode(true_tags(scene)))
        for line, (share, tag) in enumerate(
            zip(*[part.tolist() for part in row.softmax(0).topk(4)], strict=True)
        ):
            axis.text(
                0.5, -0.06 - 0.11 * line, f"#{known.vocabulary.tags[tag]}  {100 * share:.0f} %",
                transform=axis.transAxes, ha="center", va="top", fontsize=9,
                color="#157a2f" if tag in right else "#777777",
            )  # fmt: skip
        axis.text(0.5, -0.46, " ", transform=axis.transAxes, va="top", fontsize=6)  # room for the lines above
    figure.savefig(out / "tags.png", dpi=90)
    pyplot.close(figure)


def neighbours_picture(weights: Path, out: Path, queries: list[int]) -> None:
    """Held-out pictures on the left, the nearest of the gallery beside them."""
    from matplotlib import pyplot

    size = load(weights).preprocessing.size
    gallery = pictures(range(GALLERY), "train", size)
    asked = pictures(queries, "val", size)
    found = nearest(embedded(weights, asked)[0], embedded(weights, gallery)[0], NEAREST)
    figure, axes = pyplot.subplots(
        len(queries), NEAREST + 1, figsize=(9.6, 1.4 * len(queries)), layout="constrained"
    )
    for row, place, near in zip(axes, range(len(queries)), found.indices.tolist(), strict=True):
        for axis, pixels in zip(row, [asked.pixels[place], *gallery.pixels[near]], strict=True):
            axis.imshow(pixels[:, 0].permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.axis("off")
    axes[0, 0].set_title("asked", fontsize=9)
    axes[0, 1].set_title("nearest", fontsize=9)
    figure.savefig(out / "neighbours.png", dpi=90)
    pyplot.close(figure)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tags_picture(given.weights, given.out, 100)
    neighbours_picture(given.weights, given.out, [100, 101, 102, 104])


if __name__ == "__main__":
    main()
