"""Pictures with what people wrote under them: of the Small World, or files of the user's own.

pictures = world_pictures(30_000, 64)                 # noisy hashtags, as people write them
pictures = folder_pictures(Path("photos"), 64)        # fox.jpg with fox.txt beside it: "#fox #snow"
order = Order(repeats(...), seed)                     # which picture comes when, by a sampling law
"""

# N pictures, B batch, S side

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from PIL import Image as Picture
from torch import Tensor

from kinema.data import open_dataset
from kinema.data.crops import random_flip, random_resized_crop
from kinema.data.folder import media_files
from kinema.data.preprocessing import Preprocessing
from kinema.data.sample import IMAGE_EXTENSIONS, FileSource
from kinema.data.tag_sampling import epoch_order
from kinema.errors import UserError
from kinema.media.image import Image
from kinema.train import make_generator
from kinema.world import atlas
from kinema.world.hashtags import BACKGROUND_TAGS, FAMILY_TAGS, hashtags, true_tags
from kinema.world.pictures import pictures
from kinema.world.scene import WorldSpec, sample_scene

WORLD: Final = WorldSpec(vocabulary="nano")
ROOM: Final = 1.25  # the short side that own pictures are kept at, in sides of the network: room to crop
KEPT: Final = 8192  # own pictures in memory at most
TAGS_OF_FILES: Final = re.compile(r"[\s,;#]+")


@dataclass(frozen=True)
class TaggedPictures:
    """Words under each picture, and what gives pixels: numbers -> uint8 (3, H, W) each.

    nouns: words that may become tags; None for all of them. kind: `tags`, or `classes` with one word under each.
    """

    tags: tuple[tuple[str, ...], ...]
    read: Callable[[Sequence[int]], Sequence[Tensor]]
    trained_on: str
    nouns: frozenset[str] | None = None
    kind: str = "tags"

    def __len__(self) -> int:
        return len(self.tags)

    def chosen(self, places: Sequence[int]) -> TaggedPictures:
        """The pictures at these places."""
        kept = tuple(places)
        return TaggedPictures(
            tuple(self.tags[place] for place in kept),
            lambda numbers: self.read([kept[number] for number in numbers]),
            self.trained_on,
            self.nouns,
            self.kind,
        )


def world_pictures(count: int, size: int, split: str = "train", *, right: bool = False) -> TaggedPictures:
    """The first scenes of a split; each is drawn once, when it is first asked for.

    right: every tag that is true of the scene, in place of what somebody wrote.
    """
    scenes = [sample_scene(split, index, WORLD) for index in range(count)]
    pixels = torch.empty(count, 3, size, size, dtype=torch.uint8)
    drawn = torch.zeros(count, dtype=torch.bool)

    def read(numbers: Sequence[int]) -> Sequence[Tensor]:
        missing = sorted({number for number in numbers if not drawn[number]})
        if missing:
            pixels[missing] = pictures(missing, split, size, WORLD).pixels[:, :, 0]
            drawn[missing] = True
        return [pixels[number] for number in numbers]

    written = tuple(true_tags(scene) if right else hashtags(scene) for scene in scenes)
    return TaggedPictures(written, read, "the Small World", world_nouns())


@lru_cache(maxsize=1)
def world_nouns() -> frozenset[str]:
    """Words for things and places: what a still picture can show, which motions are not."""
    things = (word for art in atlas.artworks() for word in (art.name, *art.tags) if len(word) > 2)
    tables = (word for table in (FAMILY_TAGS, BACKGROUND_TAGS) for words in table.values() for word in words)
    return frozenset((*things, *tables))


def folder_pictures(folder: Path, size: int) -> TaggedPictures:
    """Pictures of a folder with words beside them (see `kinema.data.open_dataset`), or in one subfolder per class.

    In `fox.txt`, or the captions of `fox.json`, every word is a tag, with its sign or without.

    Raises:
        UserError: there is neither, or only one class.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}': give one with pictures and their tags")
    files = [file for file in media_files(folder) if file.suffix[1:].lower() in IMAGE_EXTENSIONS]
    if not files:
        raise UserError(f"the folder '{folder}' holds no pictures: MAWS learns from pictures alone")
    beside = any(file.with_suffix(end).is_file() for file in files for end in (".txt", ".json"))
    if beside or (folder / "metadata.jsonl").is_file():
        return _with_words(folder, size)
    classes = {file.relative_to(folder).parts[0] for file in files if file.parent != folder}
    if len(classes) < 2 or any(file.parent == folder for file in files):
        raise UserError(
            f"the pictures in '{folder}' say nothing about themselves: put tags in fox.txt beside fox.jpg, or all "
            "pictures into subfolders, one for each class and at least two"
        )
    words = tuple((file.relative_to(folder).parts[0],) for file in files)
    return TaggedPictures(words, _reader(files, size), f"{len(files)} own pictures", kind="classes")


def _with_words(folder: Path, size: int) -> TaggedPictures:
    files, words = [], []
    for sample in open_dataset(folder, max_broken=1.0).samples:
        source = sample.source
        if isinstance(source, FileSource) and source.path.suffix[1:].lower() in IMAGE_EXTENSIONS:
            files.append(source.path)
            words.append(tuple(filter(None, TAGS_OF_FILES.split(" ".join(sample.captions)))))
    if not files:
        raise UserError(f"no picture in '{folder}' has tags: put them in fox.txt beside fox.jpg")
    return TaggedPictures(tuple(words), _reader(files, size), f"{len(files)} own pictures")


def _reader(files: Sequence[Path], size: int) -> Callable[[Sequence[int]], Sequence[Tensor]]:
    @lru_cache(maxsize=KEPT)
    def one(number: int) -> Tensor:
        picture = Picture.fromarray(Image.read(files[number]).pixels)
        scale = math.ceil(ROOM * size) / min(picture.size)
        # The long side is bounded, or a strip would grow without end.
        wide, high = (min(max(size, round(side * scale)), 8 * size) for side in picture.size)
        small = picture.resize((wide, high), Picture.Resampling.BICUBIC, reducing_gap=3.0)
        return (
            torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
            .view(high, wide, 3)
            .permute(2, 0, 1)
        )

    return lambda numbers: [one(number) for number in numbers]


def crops(
    images: Sequence[Tensor],
    preprocessing: Preprocessing,
    generator: torch.Generator,
    scale: tuple[float, float],
) -> Tensor:
    """A random part of each, half of them mirrored, normalised: uint8 (3, H, W) each -> (B, 3, S, S)."""
    cut = [
        random_flip(random_resized_crop(image.float() / 255, preprocessing.size, generator, scale), generator)
        for image in images
    ]
    return preprocessing.normalise(torch.stack(cut).clamp(0, 1))


def whole(images: Sequence[Tensor], preprocessing: Preprocessing) -> Tensor:
    """As a user's files are prepared: uint8 (3, H, W) each -> (B, 3, S, S), normalised."""
    return torch.stack([preprocessing.image(image.permute(1, 2, 0).numpy()) for image in images])


class Order:
    """Which picture the n-th sample of a run is: epoch after epoch, each shuffled, pictures as often as expected."""

    def __init__(self, expected: Tensor, seed: int) -> None:
        self.expected, self.seed = expected, seed
        self._epochs: list[Tensor] = []
        self._ends = [0]
        self._lock = threading.Lock()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        """Places of these samples among the pictures."""
        with self._lock:
            while self._ends[-1] <= max(numbers):
                generator = make_generator(self.seed, "epoch", len(self._epochs))
                self._epochs.append(epoch_order(self.expected, generator))
                self._ends.append(self._ends[-1] + len(self._epochs[-1]))
            found = []
            for number in numbers:
                epoch = next(k for k, end in enumerate(self._ends[1:]) if number < end)
                found.append(int(self._epochs[epoch][number - self._ends[epoch]]))
        return found
