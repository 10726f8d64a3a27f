"""The picture of the documentation's page: where nano's class token looks.

    python experiments/early_conv/early_conv_pictures.py [--weights FILE]

Held-out scenes, objects that training never shows, and two photos that scikit-image carries.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kinema
from kinema.systems.early_conv.attention import class_attention
from kinema.vision import Media, Vision
from kinema.world.pictures import pictures

HERE = Path(__file__).resolve().parent
SIZE, SCENES, OBJECTS = 64, range(40, 46), range(4)


def seen() -> list[tuple[str, np.ndarray]]:
    """What is shown, with the true word for it."""
    found = []
    for split, numbers in (("val", SCENES), ("test-objects", OBJECTS)):
        drawn = pictures(numbers, split, SIZE)
        found += [
            (scene.subject.name.replace("_", " "), pixels.permute(1, 2, 0).numpy())
            for scene, pixels in zip(drawn.scenes, drawn.pixels[:, :, 0], strict=True)
        ]
    from skimage import data

    return [*found, ("cat (photo)", data.chelsea()), ("coffee (photo)", data.coffee())]


def attention_picture(see: Vision) -> Any:
    """Each picture beside the mean attention of the last block's heads, brightest where it is largest."""
    from matplotlib import pyplot

    shown = seen()
    figure = pyplot.figure(figsize=(9.6, 4.4), layout="constrained")
    axes = figure.subplots(3, 8)
    for place, (word, pixels) in enumerate(shown):
        media = Media("image", pixels[None], word)
        guess, batch = see.classify(media, top=1)[0], see.prepare(media)
        shares = class_attention(see.network, batch)[0, -1].mean(0)  # (H', W')
        large = torch.nn.functional.interpolate(shares[None, None], scale_factor=8, mode="bilinear")[0, 0]
        cut = see.preprocessing.pixels(batch)[0].permute(1, 2, 0).clamp(0, 1).numpy()
        left, right = axes[place // 4][2 * (place % 4) : 2 * (place % 4) + 2]
        left.imshow(cut)
        left.set_title(word, fontsize=8)
        right.imshow(0.25 * cut)
        right.imshow(large, cmap="inferno", alpha=0.75)
        right.set_title(f"{guess.label} {100 * guess.share:.0f} %", fontsize=8)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def main() -> None:
    """The command."""
    import matplotlib as mpl

    mpl.use("Agg")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", default="nano")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "docs" / "images" / "early_conv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    see = kinema.load("early-conv-nano", weights=given.weights)
    given.out.mkdir(parents=True, exist_ok=True)
    attention_picture(see).savefig(given.out / "attention.webp", dpi=110)


if __name__ == "__main__":
    main()
