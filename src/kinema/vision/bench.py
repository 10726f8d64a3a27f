"""What `kinema eval` measures of a network that sees: probes of its frozen features, beside plain pixels and chance."""

# N pictures, D width of features

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from kinema.data.labelled import FASHION, STAMPS, LabelledPictures, fashion_mnist, found, majority, stamps
from kinema.errors import UserError
from kinema.eval.probes import few_shot, knn, linear_probe
from kinema.vision.media import Media
from kinema.vision.pipeline import BATCH, Vision
from kinema.world import WorldSpec
from kinema.world.atlas import artworks
from kinema.world.pictures import clips, pictures

Progress = Callable[[int, int], None]
SIZE: Final = 64  # of the pictures that are shown; each network resizes them as it does a user's
FRAMES: Final = 16
HALVES: Final = 4  # random halves of the stamps, which are few
SHOTS: Final = 5


def evaluate(
    see: Vision,
    num_prompts: int = 2000,
    seed: int = 0,
    steps: int | None = None,
    guidance_scale: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Probe a network on `num_prompts` pictures to learn from and half as many to be judged on.

    Small World: the family of the object (22 of them), and of objects that its training never showed; for networks that
    see time also the motion of clips. Real: Fashion-MNIST and Tux Paint's stamps, where these are installed. For each a
    linear probe, 5 samples a class, and 20 neighbours; the same of plain pixels of 16 by 16, and of guessing the most
    frequent class.
    """
    if steps is not None or guidance_scale is not None:
        raise UserError("this network does not sample: leave out --steps and --guidance-scale")
    tell = _Counter(progress)
    report: dict[str, Any] = {}
    families = tuple(sorted({artwork.family for artwork in artworks()}))
    spec, half = WorldSpec(vocabulary="full"), max(num_prompts // 2, 1)
    first = seed * 1_000_000
    train = pictures(range(first, first + num_prompts), "val", SIZE, spec)
    known = pictures(range(first + num_prompts, first + num_prompts + half), "val", SIZE, spec)
    unseen = pictures(range(first, first + half), "test-objects", SIZE, spec)
    parts = [
        LabelledPictures(part.pixels[:, :, 0], part.labels("family", families), families)
        for part in (train, known, unseen)
    ]
    report["Small World, family"] = _probed(see, parts[0], parts[1], tell)
    report["Small World, family of unseen objects"] = _probed(see, *parts[2].halves(seed), tell)
    if "video" in see.parts.kinds:
        report["Small World, motion"] = _motion(see, num_prompts, half, first, spec, tell)
    if found(FASHION) is not None:
        learn, judge = fashion_mnist("train", num_prompts), fashion_mnist("test", half)
        report["Fashion-MNIST"] = _probed(see, learn, judge, tell)
    if found(STAMPS) is not None:
        whole = stamps(SIZE)
        rows = [_probed(see, *whole.halves(seed * HALVES + k), tell) for k in range(HALVES)]
        report["stamps"] = {name: _mean([row[name] for row in rows]) for name in rows[0]}
    return report


def embedded(see: Vision, pixels: Tensor, told: Callable[[int], None] | None = None) -> Tensor:
    """Features (N, D) of uint8 pictures (N, 3, S, S), or of clips (N, 3, T, S, S), as the network sees files."""
    rows = []
    for start in range(0, len(pixels), BATCH):
        block = pixels[start : start + BATCH]
        views = torch.cat([see.prepare(_media(sample)) for sample in block])  # one view of each, or as many
        features = see.features(views).float().cpu()
        rows.append(features.unflatten(0, (len(block), -1)).mean(1))
        if told is not None:
            told(len(block))
    return torch.cat(rows)


def _media(sample: Tensor) -> Media:
    if sample.ndim == 3:
        return Media("image", sample.permute(1, 2, 0)[None].numpy(), "a picture")
    return Media("video", sample.permute(1, 2, 3, 0).contiguous().numpy(), "a clip")


def _probed(see: Vision, train: LabelledPictures, test: LabelledPictures, tell: _Counter) -> dict[str, float]:
    features = [embedded(see, part.pixels, tell) for part in (train, test)]
    pixels = [_small(part.pixels) for part in (train, test)]
    return _rows(features, pixels, train.labels, test.labels)


def _motion(
    see: Vision, count: int, half: int, first: int, spec: WorldSpec, tell: _Counter
) -> dict[str, float]:
    from kinema.world import MOTIONS

    parts = [
        clips(range(start, start + number), "val", FRAMES, SIZE, spec)
        for start, number in ((first, count), (first + count, half))
    ]
    features = [embedded(see, part.pixels, tell) for part in parts]
    pixels = [_small(part.pixels[:, :, :: FRAMES // 4].flatten(1, 2)) for part in parts]
    train, test = (part.labels("motion", tuple(MOTIONS)) for part in parts)
    return _rows(features, pixels, train, test)


def _rows(features: list[Tensor], pixels: list[Tensor], train: Tensor, test: Tensor) -> dict[str, float]:
    rows = {
        "linear": linear_probe(features[0], train, features[1], test),
        f"{SHOTS} a class": _few(features, train, test),
        "neighbours": knn(features[0], train, features[1], test),
        "linear, pixels": linear_probe(pixels[0], train, pixels[1], test),
        "most frequent": majority(test),
    }
    return {name: value for name, value in rows.items() if value == value}


def _few(features: list[Tensor], train: Tensor, test: Tensor) -> float:
    """Over the classes that have enough samples, or NaN where fewer than two have."""
    counts = torch.bincount(train)
    enough = (counts >= SHOTS).nonzero()[:, 0]
    if len(enough) < 2:
        return float("nan")
    learn, judge = torch.isin(train, enough), torch.isin(test, enough)
    return few_shot(features[0][learn], train[learn], features[1][judge], test[judge], SHOTS)


def _small(pixels: Tensor) -> Tensor:
    shrunk = torch.nn.functional.interpolate(pixels.float(), (16, 16), mode="area")
    return shrunk.flatten(1)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


class _Counter:
    """Adds up what was embedded, for those who watch."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.done = progress, 0

    def __call__(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.done, 0)
