"""Pictures with the tags that people wrote: scenes with noisy hashtags, or a folder with tags beside its pictures.

An epoch shows pictures by the square root of how frequent their rarest tag is (2201.08371, section 3.1).
"""

# B batch, V tags, S side

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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
from kinema.data.hashtags import Vocabulary, tag_targets
from kinema.data.open import METADATA
from kinema.data.preprocessing import Preprocessing
from kinema.data.sample import IMAGE_EXTENSIONS, FileSource
from kinema.data.tag_sampling import SQUARE_ROOT, epoch_order, repeats, tag_prior
from kinema.errors import UserError
from kinema.media.image import Image
from kinema.train import BatchIndex, make_generator
from kinema.world.hashtags import TagNoise, hashtags
from kinema.world.pictures import pictures
from kinema.world.scene import WorldSpec, sample_scene

MARGIN: Final = 8 / 7  # the short side of a folder's pictures over that of their crops
MEMORY: Final = 600_000_000  # bytes that scenes, once drawn, may take
KEPT: Final = 20_000  # of a folder's pictures stay in memory, small
CROP: Final = (0.35, 1.0)  # of a picture's area: its subject is to stay in it
MOST: Final = 10.0  # times that an epoch shows one picture


@dataclass(frozen=True)
class TaggedPictures:
    """tags: numbers of each picture's tags. read: places to pixels, uint8 (3, H, W) each, of any size."""

    tags: tuple[tuple[int, ...], ...]
    vocabulary: Vocabulary
    read: Callable[[Sequence[int]], list[Tensor]]

    def __len__(self) -> int:
        return len(self.tags)


@dataclass
class TagBatch:
    """pixels (B, 3, S, S), normalised; targets (B, V), rows add up to 1."""

    pixels: Tensor
    targets: Tensor


def scene_pictures(
    count: int,
    size: int,
    *,
    split: str = "train",
    spec: WorldSpec | None = None,
    noise: TagNoise | None = None,
    vocabulary: Vocabulary | None = None,
    min_count: int = 20,
) -> TaggedPictures:
    """The first `count` scenes of a split of the Small World; without a vocabulary one is built of their tags."""
    written = [hashtags(sample_scene(split, index, spec), noise) for index in range(count)]
    known = vocabulary or Vocabulary.build(written, min_count=min_count)
    return TaggedPictures(
        tuple(known.encode(tags) for tags in written), known, scene_reader(split, size, spec)
    )


def scene_reader(split: str, size: int, spec: WorldSpec | None) -> Callable[[Sequence[int]], list[Tensor]]:
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


def tagged_folder(folder: Path, size: int) -> TaggedPictures:
    """Pictures with their tags in `photo.txt` or `photo.json` beside `photo.jpg`, or in a `metadata.jsonl`.

    A text is "#dog #park", "dog, city park" or "dog park"; JSON may also be a list of tags. Clips are left out. Of a
    thousand pictures or more, a tag needs five.

    Raises:
        UserError: no picture has tags.
    """
    table = folder / METADATA
    samples, _ = read_jsonl(table) if table.is_file() else read_sidecars(folder)
    chosen = [sample for sample in samples if sample.key.rpartition(".")[2].lower() in IMAGE_EXTENSIONS]
    if not chosen:
        raise UserError(f"the folder {folder} has tags for clips alone: SWAG learns from pictures")
    files = [sample.source.path for sample in chosen if isinstance(sample.source, FileSource)]
    written = [written_tags(sample.captions) for sample in chosen]
    vocabulary = Vocabulary.build(written, min_count=5 if len(written) >= 1000 else 1)
    return TaggedPictures(
        tuple(vocabulary.encode(tags) for tags in written), vocabulary, file_reader(files, size)
    )


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


def file_reader(files: Sequence[Path], size: int) -> Callable[[Sequence[int]], list[Tensor]]:
    """Reads pictures by their places, a little larger than `size`; what was read is kept."""
    short = round(size * MARGIN)

    @lru_cache(maxsize=KEPT)
    def one(place: int) -> Tensor:
        pixels = Image.read(files[place]).pixels
        scale = short / min(pixels.shape[:2])
        wide, high = (max(short, min(round(scale * side), 4 * short)) for side in pixels.shape[1::-1])
        small = Picture.fromarray(pixels).resize((wide, high), Picture.Resampling.BICUBIC)
        return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)

    return lambda places: [one(place) for place in places]


def augmented(pixels: Sequence[Tensor], preprocessing: Preprocessing, seeds: Sequence[int | str]) -> Tensor:
    """A random crop of each, mirrored or not, normalised: uint8 (3, H, W) each to (B, 3, S, S)."""
    made = []
    for picture, seed in zip(pixels, seeds, strict=True):
        generator = make_generator("swag crop", seed)
        crop = random_resized_crop(picture.float() / 255, preprocessing.size, generator, CROP)
        made.append(random_flip(crop.clamp(0, 1), generator))
    return preprocessing.normalise(torch.stack(made))


class TagBatches:
    """Batches for the loop. What a sample is follows from the seed and its number in the run alone.

    Args:
        power: of the law that pictures are resampled by, see `kinema.data.tag_sampling`.
        most: times that an epoch shows one picture; None for no limit.
    """

    def __init__(
        self,
        data: TaggedPictures,
        preprocessing: Preprocessing,
        power: float = SQUARE_ROOT,
        most: float | None = MOST,
    ) -> None:
        self.data, self.preprocessing = data, preprocessing
        self.expected = repeats(data.tags, data.vocabulary.counts, power, most=most)
        self.epoch = max(1, round(float(self.expected.sum())))
        self._order = lru_cache(maxsize=2)(self._drawn)

    @property
    def prior(self) -> Tensor:
        """How probable each tag is as a target: (V,)."""
        return tag_prior(self.data.tags, self.expected, len(self.data.vocabulary))

    def places(self, numbers: Sequence[int], seed: int) -> list[int]:
        """Which pictures the samples with these numbers are."""
        found = []
        for number in numbers:
            # Fractions are drawn, so an order is a little longer or shorter than an epoch.
            order = self._order(seed, number // self.epoch)
            found.append(int(order[number % self.epoch % len(order)]))
        return found

    def __call__(self, index: BatchIndex) -> TagBatch:
        places = self.places(index.indices, index.seed)
        seeds = [f"{index.seed}:{number}" for number in index.indices]
        targets = tag_targets([self.data.tags[place] for place in places], len(self.data.vocabulary))
        return TagBatch(augmented(self.data.read(places), self.preprocessing, seeds), targets)

    def _drawn(self, seed: int, epoch: int) -> Tensor:
        return epoch_order(self.expected, make_generator("swag epoch", seed, epoch))
