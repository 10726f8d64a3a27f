"""What MAWS learns from: scenes with hashtags, or a user's pictures with tags or in classes; and in which order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from torch import Tensor

from kinema.data.folder import class_files, media_files
from kinema.data.sample import IMAGE_EXTENSIONS
from kinema.data.tag_sampling import epoch_order
from kinema.data.tagged import TaggedPictures, file_reader, has_tags, scene_pictures, tagged_folder
from kinema.errors import UserError
from kinema.train import make_generator
from kinema.world import atlas
from kinema.world.hashtags import BACKGROUND_TAGS, FAMILY_TAGS, true_tags
from kinema.world.scene import WorldSpec, sample_scene

WORLD: Final = WorldSpec(vocabulary="nano")


def world_pictures(count: int, size: int, split: str = "train", *, right: bool = False) -> TaggedPictures:
    """The first scenes of a split of the Small World.

    right: under each stands every tag that is true of it, in place of what somebody wrote.
    """
    shown = scene_pictures(count, size, split=split, spec=WORLD)
    if not right:
        return shown
    written = tuple(true_tags(sample_scene(split, index, WORLD)) for index in range(count))
    return TaggedPictures(written, shown.read, shown.about)


@lru_cache(maxsize=1)
def world_nouns() -> frozenset[str]:
    """Words for things and places: what a still picture can show, which motions are not."""
    things = (word for art in atlas.artworks() for word in (art.name, *art.tags) if len(word) > 2)
    tables = (word for table in (FAMILY_TAGS, BACKGROUND_TAGS) for words in table.values() for word in words)
    return frozenset((*things, *tables))


def folder_pictures(folder: Path, size: int) -> tuple[TaggedPictures, Literal["tags", "classes"]]:
    """Pictures of a folder with words beside them, see `kinema.data.tagged`, or in one subfolder per class.

    Of classes there is one word under each picture: the name of its subfolder.

    Raises:
        UserError: there is neither, or only one class.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}': give one with pictures and their tags")
    files = [file for file in media_files(folder) if file.suffix[1:].lower() in IMAGE_EXTENSIONS]
    if not files:
        raise UserError(f"the folder '{folder}' holds no pictures: MAWS learns from pictures alone")
    if has_tags(folder, files):
        return tagged_folder(folder, size), "tags"
    if any(file.parent == folder for file in files):
        raise UserError(
            f"the pictures in '{folder}' say nothing about themselves: put tags in fox.txt beside fox.jpg, or all "
            "pictures into subfolders, one for each class and at least two"
        )
    class_files(folder)  # refuses fewer than two
    words = tuple((file.relative_to(folder).parts[0],) for file in files)
    return TaggedPictures(words, file_reader(files, size), f"{len(files)} own pictures"), "classes"


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
