"""Batches of one kind each, pictures or clips, of the Small World or of a folder of the user's own (section 3.2)."""

# B samples of a step, R replicas, T frames, S the network's side, U the side before the crop

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor

from kinema.data import MediaDataset, Sample
from kinema.data.crops import random_flip, random_resized_crop
from kinema.data.preprocessing import Preprocessing
from kinema.data.sample import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, FileSource
from kinema.errors import UserError
from kinema.systems.omnimae.objective import REPLICAS, is_clip_step, replicated
from kinema.train import BatchIndex, derive_seed, shuffled
from kinema.vision.media import media_in
from kinema.world.pictures import clips, pictures
from kinema.world.scene import WorldSpec

SECONDS: Final = 2.7  # that a clip spans, as the paper has it
ROOM: Final = (
    1.25  # a file's frames are read this much larger than the network's side, so that crops have room
)
MAX_BROKEN: Final = 0.05


class Source(Protocol):
    """Where pictures and clips come from: pure functions of sample numbers."""

    @property
    def clip_share(self) -> float:
        """Of the steps that are on clips: 0 where there are none, 1 where there is nothing else."""

    def pictures(self, indices: Sequence[int]) -> Tensor:
        """uint8 (N, 3, U, U)."""

    def clips(self, indices: Sequence[int]) -> Tensor:
        """uint8 (N, 3, T, U, U)."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Scenes of the Small World, none of them shown twice."""

    frames: int
    size: int
    spec: WorldSpec | None = None
    split: str = "train"
    clip_share: float = 0.5

    def pictures(self, indices: Sequence[int]) -> Tensor:
        return pictures(indices, self.split, self.size, self.spec).pixels[:, :, 0]

    def clips(self, indices: Sequence[int]) -> Tensor:
        return clips(indices, self.split, self.frames, self.size, self.spec).pixels


class Folder:
    """The pictures and clips below a folder, in a new order each time round; labels are not asked for.

    Of a clip a random stretch of `seconds` is seen; the last frame of a shorter one is held. A file that cannot be read
    is left out with a warning, and too many of them are an error.

    Raises:
        UserError: there is no such folder, or neither pictures nor clips in it.
    """

    def __init__(self, folder: Path, frames: int, size: int, seconds: float = SECONDS, seed: int = 0) -> None:
        files = media_in(folder)
        self.frames, self.side, self.rate, self.seed = frames, round(ROOM * size), frames / seconds, seed
        self._pictures = _dataset(folder, [f for f in files if _ending(f) in IMAGE_EXTENSIONS])
        self._clips = _dataset(folder, [f for f in files if _ending(f) in VIDEO_EXTENSIONS])
        if self._pictures is None and self._clips is None:
            raise UserError(f"the folder '{folder}' holds neither pictures nor clips that training reads")
        self.clip_share = 0.0 if self._clips is None else 1.0 if self._pictures is None else 0.5

    def pictures(self, indices: Sequence[int]) -> Tensor:
        return self._read(self._pictures, indices, 1)[:, :, 0]

    def clips(self, indices: Sequence[int]) -> Tensor:
        return self._read(self._clips, indices, self.frames)

    def _read(self, files: MediaDataset | None, indices: Sequence[int], frames: int) -> Tensor:
        assert files is not None
        places = shuffled(indices, len(files), self.seed)
        read = [
            files.clip(place, frames, self.side, self.side, self.rate, derive_seed(self.seed, number))[0]
            for place, number in zip(places, indices, strict=True)
        ]
        return torch.stack([torch.from_numpy(each).permute(3, 0, 1, 2) for each in read])


@dataclass(frozen=True, kw_only=True)
class JointBatches:
    """The batch of a step, normalised: images (B, 3, S, S), or clips (B', 3, T, S, S) of which R are views of one file.

    clip_part: B' over B; 1 in the paper, where a clip's cost does not matter beside that of reading it.
    scale: area of a crop as a share of the picture's.
    """

    source: Source
    preprocessing: Preprocessing
    replicas: int = REPLICAS
    clip_part: float = 1.0
    scale: tuple[float, float] = (0.2, 1.0)

    def __call__(self, index: BatchIndex) -> Tensor:
        generator = index.generator("views")
        if is_clip_step(index.step, self.source.clip_share, index.seed):
            decoded = max(1, int(self.clip_part * len(index.indices)) // self.replicas)
            files = self.source.clips(index.indices[:decoded]).float() / 255
            return normalised(replicated(files, self.view, generator, self.replicas), self.preprocessing)
        images = self.source.pictures(index.indices).float() / 255
        views = torch.stack([random_flip(self.view(image, generator), generator) for image in images])
        return normalised(views, self.preprocessing)

    def view(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """A random crop of a picture or of all frames of a clip."""
        return random_resized_crop(pixels, self.preprocessing.size, generator, self.scale).clamp(0, 1)


def normalised(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Pixels in [0, 1] or uint8, of images (B, 3, S, S) or of clips (B, 3, T, S, S), on the network's scale."""
    unit = pixels if pixels.is_floating_point() else pixels.float() / 255
    if unit.ndim == 4:
        return preprocessing.normalise(unit)
    return preprocessing.normalise(unit.transpose(1, 2)).transpose(1, 2)


def _dataset(folder: Path, files: Sequence[Path]) -> MediaDataset | None:
    if not files:
        return None
    samples = [Sample(file.relative_to(folder).as_posix(), (), FileSource(file)) for file in files]
    return MediaDataset(samples, max_broken=MAX_BROKEN)


def _ending(file: Path) -> str:
    return file.suffix.lower().removeprefix(".")
