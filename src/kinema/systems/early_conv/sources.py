"""What the recipe learns from: scenes of the Small World, or a folder of pictures with a subfolder for each class."""

# N pictures, B of a batch, R side of what is kept of them, S of what the network sees

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from kinema.data.folder import class_files
from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.train import shuffled
from kinema.vision.media import read_media
from kinema.world import atlas
from kinema.world.pictures import pictures

KEPT: Final = 2**30  # bytes of decoded pictures that stay in memory
EVERY: Final = 10  # one file in so many is for validation
HELD_OUT: Final = 512  # pictures that a validation looks at


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where pictures come from: training pixels uint8 (B, 3, R, R) by their numbers, those held out, class names.

    repeats: whether pictures come again, and are changed and mixed so that they are not learned by heart. Scenes are
    shown once, and there it would only slow a short run down.
    """

    classes: tuple[str, ...]
    repeats: bool
    training: Callable[[Iterable[int]], tuple[Tensor, Tensor]]
    held_out: Callable[[], tuple[Tensor, Tensor]]
    about: str


class OwnPictures:
    """The classes of a folder, its pictures in two parts, and their pixels on demand.

    A picture's middle square is kept, R pixels wide; of a clip or an animation that of its middle frame. Files are read
    when they are needed first, and stay in memory as long as there is room. `training` and `held_out` are (file, number
    of its class); the latter has every tenth file of a class, at least one.

    Raises:
        UserError: there is no such folder, it has fewer than two subfolders, or one of them fewer than two pictures.
    """

    def __init__(self, folder: Path, side: int) -> None:
        found = class_files(folder)
        self.classes = tuple(found)
        self.training: list[tuple[Path, int]] = []
        self.held_out: list[tuple[Path, int]] = []
        for label, (name, files) in enumerate(found.items()):
            if len(files) < 2:
                raise UserError(
                    f"'{folder / name}' holds one picture: two or more are expected, since one is held out"
                )
            order = shuffled(range(len(files)), len(files), "held out")
            held = max(1, len(files) // EVERY)
            self.held_out += [(files[k], label) for k in order[:held]]
            self.training += [(files[k], label) for k in order[held:]]
        self._square = Preprocessing(size=side)
        self._kept: dict[Path, Tensor] = {}
        self._room = KEPT

    def drawn(self, numbers: Iterable[int], seed: int) -> tuple[Tensor, Tensor]:
        """Training pictures by their numbers in the run, each once an epoch: uint8 (N, 3, R, R), classes (N,)."""
        places = shuffled(list(numbers), len(self.training), seed)
        return self._stacked([self.training[place] for place in places])

    def validation(self, count: int) -> tuple[Tensor, Tensor]:
        """The first `count` held-out pictures in a fixed random order: uint8 (N, 3, R, R), classes (N,)."""
        size = len(self.held_out)
        return self._stacked(
            [self.held_out[k] for k in shuffled(range(min(count, size)), size, "validation")]
        )

    def _stacked(self, chosen: list[tuple[Path, int]]) -> tuple[Tensor, Tensor]:
        pixels = torch.stack([self._pixels(file) for file, _ in chosen])
        return pixels, torch.tensor([label for _, label in chosen])

    def _pixels(self, file: Path) -> Tensor:
        if file in self._kept:
            return self._kept[file]
        frames = read_media(file).frames
        square = self._square.pixels(self._square.image(frames[len(frames) // 2])[None])[0]
        pixels = (square * 255).round().clamp(0, 255).to(torch.uint8)
        if pixels.numel() <= self._room:
            self._kept[file], self._room = pixels, self._room - pixels.numel()
        return pixels


def small_world(size: int) -> Source:
    """Scenes of the Small World and the family of what they are about, none shown twice."""
    families = atlas.families()

    def scenes(numbers: Iterable[int], split: str = "train") -> tuple[Tensor, Tensor]:
        drawn = pictures(list(numbers), split, size)
        return drawn.pixels[:, :, 0], drawn.labels("family", families)

    return Source(
        classes=families,
        repeats=False,
        training=scenes,
        held_out=lambda: scenes(range(HELD_OUT), "val"),
        about="the Small World",
    )


def own_folder(folder: Path, size: int, seed: int) -> Source:
    """The user's pictures, kept half as large again as the network sees them."""
    own = OwnPictures(folder, size + size // 2)
    return Source(
        classes=own.classes,
        repeats=True,
        training=lambda numbers: own.drawn(numbers, seed),
        held_out=lambda: own.validation(HELD_OUT),
        about=folder.name,
    )
