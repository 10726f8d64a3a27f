"""Pictures with what people wrote under them, and what gives their pixels: scenes of the Small World, or files.

shown = scene_pictures(30_000, 64)          # noisy hashtags, as people write them
shown = tagged_folder(Path("photos"), 64)   # fox.jpg with fox.txt beside it: "#fox #snow"
pixels = crops(shown.read(places), preprocessing, generators, scale)
"""

# N pictures, B batch, S side

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image as Picture
from torch import Tensor

from kinema.data.crops import random_flip, random_resized_crop
from kinema.data.folder import read_jsonl, read_sidecars
from kinema.data.open import METADATA
from kinema.data.preprocessing import Preprocessing
from kinema.data.sample import IMAGE_EXTENSIONS, FileSource
from kinema.errors import UserError
from kinema.media.image import Image
from kinema.world.hashtags import TagNoise, hashtags
from kinema.world.pictures import pictures
from kinema.world.scene import WorldSpec, sample_scene

ROOM: Final = 1.25  # the short side that files are kept at, in sides of the network: room to crop
LONGEST: Final = 8  # the long side of a file at most, likewise, or a strip would grow without end
MEMORY: Final = 600_000_000  # bytes that scenes, once drawn, may take
KEPT: Final = 20_000  # files that stay in memory, small
Reader = Callable[[Sequence[int]], list[Tensor]]  # places -> pixels, uint8 (3, H, W) each, of any size


@dataclass(frozen=True)
class TaggedPictures:
    """words: under each picture, as somebody wrote them. read: their pixels. about: where they come from."""

    words: tuple[tuple[str, ...], ...]
    read: Reader
    about: str

    def __len__(self) -> int:
        return len(self.words)

    def chosen(self, places: Sequence[int]) -> TaggedPictures:
        """The pictures at these places."""
        kept = tuple(places)
        return TaggedPictures(
            tuple(self.words[place] for place in kept),
            lambda numbers: self.read([kept[number] for number in numbers]),
            self.about,
        )


def scene_pictures(
    count: int,
    size: int,
    *,
    split: str = "train",
    spec: WorldSpec | None = None,
    noise: TagNoise | None = None,
) -> TaggedPictures:
    """The first `count` scenes of a split of the Small World, with their hashtags."""
    written = tuple(hashtags(sample_scene(split, index, spec), noise) for index in range(count))
    return TaggedPictures(written, scene_reader(split, size, spec), "the Small World")


def scene_reader(split: str, size: int, spec: WorldSpec | None = None) -> Reader:
    """Draws scenes by their numbers, each once as long as they all fit into `MEMORY`."""
    drawn: dict[int, Tensor] = {}
    most = MEMORY // (3 * size * size)

    def read(places: Sequence[int]) -> list[Tensor]:
        found = {place: drawn[place] for place in places if place in drawn}
        missing = sorted(set(places) - found.keys())
        if missing:
            fresh = pictures(missing, split, size, spec).pixels[:, :, 0]
            found |= zip(missing, (picture.clone() for picture in fresh), strict=True)
            if len(drawn) + len(missing) > most:
                drawn.clear()
            drawn.update(found)
        return [found[place] for place in places]

    return read


def has_tags(folder: Path, files: Iterable[Path]) -> bool:
    """Whether a folder has a table of tags, or tags beside one of these files of it."""
    beside = (file.with_suffix(suffix) for file in files for suffix in (".txt", ".json"))
    return (folder / METADATA).is_file() or any(side.is_file() for side in beside)


def tagged_folder(folder: Path, size: int) -> TaggedPictures:
    """Pictures with their tags in `photo.txt` or `photo.json` beside `photo.jpg`, or in a `metadata.jsonl`.

    A text is "#dog #park", "dog, city park" or "dog park"; JSON may also be a list of tags. Clips are left out.

    Raises:
        UserError: no picture has tags.
    """
    table = folder / METADATA
    samples, _ = read_jsonl(table) if table.is_file() else read_sidecars(folder)
    chosen = [sample for sample in samples if sample.key.rpartition(".")[2].lower() in IMAGE_EXTENSIONS]
    if not chosen:
        raise UserError(f"no picture in '{folder}' has tags: put them into photo.txt beside photo.jpg")
    files = [sample.source.path for sample in chosen if isinstance(sample.source, FileSource)]
    written = tuple(tuple(written_tags(sample.captions)) for sample in chosen)
    return TaggedPictures(written, file_reader(files, size), f"{len(files)} own pictures")


def written_tags(captions: Sequence[str]) -> list[str]:
    """Tags of a picture's captions: what follows "#" where there is one, else parts between commas, else words.

    Of several captions each is one tag where it has neither.
    """
    found = []
    for caption in captions:
        if "#" in caption:
            found += re.findall(r"#([^\s#,;]+)", caption)
        elif re.search("[,;]", caption):
            found += re.split("[,;]", caption)
        else:
            found += caption.split() if len(captions) == 1 else [caption]
    return found


def file_reader(files: Sequence[Path], size: int) -> Reader:
    """Reads pictures by their places, a little larger than `size`; what was read is kept, small."""
    short = math.ceil(ROOM * size)

    @lru_cache(maxsize=KEPT)
    def one(place: int) -> Tensor:
        picture = Picture.fromarray(Image.read(files[place]).pixels)
        scale = short / min(picture.size)
        wide, high = (min(max(short, round(side * scale)), LONGEST * size) for side in picture.size)
        small = picture.resize((wide, high), Picture.Resampling.BICUBIC, reducing_gap=3.0)
        return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)

    return lambda places: [one(place) for place in places]


def crops(
    images: Sequence[Tensor],
    preprocessing: Preprocessing,
    generators: Iterable[torch.Generator],
    scale: tuple[float, float],
) -> Tensor:
    """A random part of each, half of them mirrored, normalised: uint8 (3, H, W) each -> (B, 3, S, S).

    Args:
        generators: one for each picture, or the same for all by `itertools.repeat`.
        scale: of the part's area, as shares of the picture's.
    """
    cut = [
        random_flip(random_resized_crop(image.float() / 255, preprocessing.size, generator, scale), generator)
        for image, generator in zip(images, generators, strict=False)
    ]
    if len(cut) != len(images):
        raise ValueError(f"{len(cut)} generators for {len(images)} pictures: give one for each")
    return preprocessing.normalise(torch.stack(cut).clamp(0, 1))


def whole(images: Sequence[Tensor], preprocessing: Preprocessing) -> Tensor:
    """As a user's files are prepared: uint8 (3, H, W) each -> (B, 3, S, S), normalised."""
    return torch.stack([preprocessing.image(image.permute(1, 2, 0).numpy()) for image in images])
