"""Pictures of both experiments, rendered once a process, and the probes that features are put to."""

# N pictures, S side

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.data.labelled import FASHION, STAMPS, fashion_mnist, found, stamps
from kinema.data.preprocessing import Preprocessing
from kinema.eval.probes import few_shot, linear_probe
from kinema.systems.swag.tagged import EncodedPictures, scene_pictures
from kinema.train import Stage, run_stages
from kinema.world.pictures import object_names, pictures
from kinema.world.scene import WorldSpec

SIZE = 32
SPEC = WorldSpec(vocabulary="nano")  # 64 objects
PREPROCESSING = Preprocessing(size=SIZE)


@dataclass(frozen=True)
class Probe:
    """A labelled set in two parts; pixels uint8 (N, 3, S, S)."""

    name: str
    pixels: Tensor
    labels: Tensor
    test_pixels: Tensor
    test_labels: Tensor

    @property
    def num_classes(self) -> int:
        return int(self.labels.max()) + 1


@cache
def corpus(count: int, min_count: int = 20) -> EncodedPictures:
    """Training scenes with their written tags, their pixels in memory."""
    data = scene_pictures(count, SIZE, spec=SPEC, min_count=min_count)
    pixels = rendered(range(count), "train")
    return EncodedPictures(data.tags, data.vocabulary, lambda places: list(pixels[list(places)]))


def rendered(indices: range, split: str) -> Tensor:
    """uint8 (N, 3, S, S)."""
    parts = [indices[k : k + 1000] for k in range(0, len(indices), 1000)]
    return torch.cat([pictures(part, split, SIZE, SPEC).pixels[:, :, 0] for part in parts])


def probe_names() -> list[str]:
    """What `probes` will hold, without rendering it."""
    real = {"Fashion-MNIST": FASHION, "stamps": STAMPS}
    return ["seen objects", "new objects", *(name for name, place in real.items() if found(place))]


@cache
def probes(count: int) -> tuple[Probe, ...]:
    """Objects that training scenes show and objects that they never show, and real pictures where they are found."""
    sets = [
        _scenes("seen objects", "val", object_names(SPEC), count),
        _scenes("new objects", "test-objects", None, count),
    ]
    if found(FASHION):
        train, test = fashion_mnist("train", count), fashion_mnist("test", count)
        sets.append(Probe("Fashion-MNIST", train.pixels, train.labels, test.pixels, test.labels))
    if found(STAMPS):
        train, test = stamps(SIZE).halves(0)
        sets.append(Probe("stamps", train.pixels, train.labels, test.pixels, test.labels))
    return tuple(sets)


def _scenes(name: str, split: str, classes: tuple[str, ...] | None, count: int) -> Probe:
    shown = pictures(range(2 * count), split, SIZE, SPEC)
    names = classes or tuple(sorted({scene.subject.name for scene in shown.scenes}))
    labels, pixels = shown.labels("object", names), shown.pixels[:, :, 0]
    return Probe(name, pixels[:count], labels[:count], pixels[count:], labels[count:])


def normalised(pixels: Tensor) -> Tensor:
    """uint8 to what networks see."""
    return PREPROCESSING.normalise(pixels.float() / 255)


@torch.no_grad()
def in_parts(function: Callable[[Tensor], Tensor], pixels: Tensor, size: int = 256) -> Tensor:
    """A function of normalised pixels over many of them."""
    return torch.cat([function(normalised(part)).float() for part in pixels.split(size)])


def probed(
    features: Callable[[Tensor], Tensor], probe: Probe, seed: int, shots: int, penalties: Sequence[float]
) -> tuple[float, float]:
    """Accuracy of a linear classifier of all labels, and of `shots` a class, mean over as many choices of them."""
    train, test = in_parts(features, probe.pixels), in_parts(features, probe.test_pixels)
    return (
        linear_probe(train, probe.labels, test, probe.test_labels, penalties, seed=seed),
        few_shot(train, probe.labels, test, probe.test_labels, shots, splits=shots, seed=seed),
    )


def train(stage: Stage, seed: int) -> nn.Module:
    """Run a stage from its beginning, with nothing kept but the network, in eval mode."""
    stage.validate, stage.prefetch, stage.checkpoint_every, stage.log_every = None, 0, 10**6, 50
    with tempfile.TemporaryDirectory() as folder:
        run_stages([stage], Path(folder), seed=seed, device="cpu", progress=False)
    return stage.model.eval()
