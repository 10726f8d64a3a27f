"""Pictures with the numbers of their tags, and batches of them, drawn by the square root of how frequent a tag is.

An epoch shows pictures by their rarest tag (2201.08371, section 3.1).
"""

# B batch, V tags, S side

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from torch import Tensor

from kinema.data import tagged
from kinema.data.hashtags import Vocabulary, tag_targets
from kinema.data.preprocessing import Preprocessing
from kinema.data.tag_sampling import SQUARE_ROOT, epoch_order, repeats, tag_prior
from kinema.data.tagged import Reader, TaggedPictures, crops
from kinema.train import BatchIndex, make_generator
from kinema.world.hashtags import TagNoise
from kinema.world.scene import WorldSpec

CROP: Final = (0.35, 1.0)  # of a picture's area: its subject is to stay in it
MOST: Final = 10.0  # times that an epoch shows one picture


@dataclass(frozen=True)
class EncodedPictures:
    """tags: numbers of each picture's tags in the vocabulary. read: their pixels."""

    tags: tuple[tuple[int, ...], ...]
    vocabulary: Vocabulary
    read: Reader

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
) -> EncodedPictures:
    """The first `count` scenes of a split of the Small World; without a vocabulary one is built of their tags."""
    shown = tagged.scene_pictures(count, size, split=split, spec=spec, noise=noise)
    return encoded(shown, vocabulary or Vocabulary.build(shown.words, min_count=min_count))


def tagged_folder(folder: Path, size: int) -> EncodedPictures:
    """A user's pictures with tags beside them, see `kinema.data.tagged`; of a thousand or more, a tag needs five.

    Raises:
        UserError: no picture has tags.
    """
    shown = tagged.tagged_folder(folder, size)
    return encoded(shown, Vocabulary.build(shown.words, min_count=5 if len(shown) >= 1000 else 1))


def encoded(shown: TaggedPictures, vocabulary: Vocabulary) -> EncodedPictures:
    """Words to numbers; a picture without a tag of the vocabulary has none, and is never drawn."""
    return EncodedPictures(tuple(vocabulary.encode(words) for words in shown.words), vocabulary, shown.read)


def augmented(pixels: Sequence[Tensor], preprocessing: Preprocessing, seeds: Sequence[int | str]) -> Tensor:
    """A random crop of each, mirrored or not, normalised: uint8 (3, H, W) each to (B, 3, S, S)."""
    return crops(pixels, preprocessing, (make_generator("swag crop", seed) for seed in seeds), CROP)


class TagBatches:
    """Batches for the loop. What a sample is follows from the seed and its number in the run alone.

    Args:
        power: of the law that pictures are resampled by, see `kinema.data.tag_sampling`.
        most: times that an epoch shows one picture; None for no limit.
    """

    def __init__(
        self,
        data: EncodedPictures,
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
