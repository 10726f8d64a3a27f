"""Small labelled sets of real pictures that system packages carry: Fashion-MNIST, and Tux Paint's stamps by kind.

Nothing is downloaded and nothing of them comes with kinema: install the packages `dataset-fashion-mnist` and
`tuxpaint-stamps-default` of Debian, or unpack them anywhere and name that folder in the variable KINEMA_DATA.
"""

# N pictures, S side

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from PIL import Image as Picture
from torch import Tensor

from kinema.errors import UserError

ROOTS: Final = (Path("/usr/share"),)
FASHION: Final = "datasets/fashion-mnist"
STAMPS: Final = "tuxpaint/stamps"
FASHION_CLASSES: Final = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
# Groups of stamps that show things, each with a word for it; letters, coins and signs are left out.
STAMP_GROUPS: Final = {
    "animals/mammals": "mammal",
    "animals/birds": "bird",
    "animals/insects": "insect",
    "animals/fish": "fish",
    "food/fruit": "fruit",
    "food/vegetables": "vegetable",
    "plants/flowers": "flower",
    "town/houses": "house",
    "household/tools": "tool",
    "hobbies/music": "instrument",
}


@dataclass(frozen=True)
class LabelledPictures:
    """pixels uint8 (N, 3, S, S), labels int64 (N,), and the names of the classes that labels count."""

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or len(self.pixels) != len(self.labels) or not len(self.labels):
            raise UserError(
                f"pictures are (N, 3, S, S) with N labels, at least one; got {tuple(self.pixels.shape)} and "
                f"{tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, places: Tensor) -> LabelledPictures:
        """The pictures at these places."""
        return LabelledPictures(self.pixels[places], self.labels[places], self.classes)

    def halves(self, seed: int, share: float = 0.5) -> tuple[LabelledPictures, LabelledPictures]:
        """A random `share` of every class, and the rest: so that both have all classes."""
        generator = torch.Generator().manual_seed(seed)
        first = torch.zeros(len(self), dtype=torch.bool)
        for label in range(len(self.classes)):
            places = (self.labels == label).nonzero()[:, 0]
            order = places[torch.randperm(len(places), generator=generator)]
            first[order[: round(share * len(order))]] = True
        return self.chosen(first.nonzero()[:, 0]), self.chosen((~first).nonzero()[:, 0])


def found(name: str) -> Path | None:
    """The folder of a set (`FASHION` or `STAMPS`), in KINEMA_DATA or where packages put it; None if it is not here."""
    given = os.environ.get("KINEMA_DATA")
    roots = [Path(given), Path(given) / "usr" / "share"] if given else []
    for root in (*roots, *ROOTS):
        if (root / name).is_dir():
            return root / name
    return None


def fashion_mnist(split: Literal["train", "test"] = "train", count: int | None = None) -> LabelledPictures:
    """Grey pictures of clothes, 28 px put into 32 on black: the first `count` of 60,000, or of 10,000 for testing.

    Raises UserError where the package is not here, or damaged.
    """
    folder = _folder(FASHION, "dataset-fashion-mnist")
    stem = "train" if split == "train" else "t10k"
    pixels = _idx(folder / f"{stem}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:count]
    labels = _idx(folder / f"{stem}-labels-idx1-ubyte.gz", 8)[:count]
    framed = np.zeros((len(pixels), 32, 32), np.uint8)
    framed[:, 2:30, 2:30] = pixels
    return LabelledPictures(
        torch.from_numpy(framed)[:, None].repeat(1, 3, 1, 1),
        torch.from_numpy(labels.astype(np.int64)),
        FASHION_CLASSES,
    )


def stamps(size: int = 32, groups: Sequence[str] = tuple(STAMP_GROUPS)) -> LabelledPictures:
    """Tux Paint's photos and drawings of things, on white, the longer side filling a square of `size` pixels.

    A label is the group that a stamp stands in; the order is that of paths. Raises UserError where the package is not
    here, or a group in it is empty.
    """
    folder = _folder(STAMPS, "tuxpaint-stamps-default")
    pixels, labels = [], []
    for label, group in enumerate(groups):
        files = sorted((folder / group).rglob("*.png"))
        if not files:
            raise UserError(f"'{folder / group}' holds no stamps: install tuxpaint-stamps-default again")
        pixels += [_on_white(file, size) for file in files]
        labels += [label] * len(files)
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    names = tuple(STAMP_GROUPS.get(group, group) for group in groups)
    return LabelledPictures(stacked, torch.tensor(labels), names)


def majority(labels: Tensor) -> float:
    """The share of the most frequent label: what guessing it always gets right."""
    return Counter(labels.tolist()).most_common(1)[0][1] / len(labels)


def _on_white(file: Path, size: int) -> np.ndarray:
    with Picture.open(file) as opened:
        picture = opened.convert("RGBA")
    scale = size / max(picture.size)
    wide, high = (max(1, round(side * scale)) for side in picture.size)
    # Colours are premultiplied by alpha while they are resized, or what hides behind it would shine through the edge.
    picture = (
        picture.convert("RGBa")
        .resize((wide, high), Picture.Resampling.BICUBIC, reducing_gap=3.0)
        .convert("RGBA")
    )
    square = Picture.new("RGBA", (size, size), "white")
    square.alpha_composite(picture, ((size - wide) // 2, (size - high) // 2))
    return np.asarray(square.convert("RGB"))


def _idx(path: Path, header: int) -> np.ndarray:
    try:
        with gzip.open(path) as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read: install dataset-fashion-mnist again") from error


def _folder(name: str, package: str) -> Path:
    folder = found(name)
    if folder is None:
        raise UserError(
            f"there is no folder '{name}' in /usr/share: install Debian's package {package}, or unpack it and name the "
            "folder with KINEMA_DATA"
        )
    return folder
