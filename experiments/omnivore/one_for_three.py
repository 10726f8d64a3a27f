"""One network for pictures, clips and RGB-D against three specialists, and neighbours across kinds.

    python experiments/omnivore/one_for_three.py

Scenes of the Small World about 8 objects in 6 movements. Pictures: which object. Clips: which movement. RGB-D, of which
there are 160 samples alone: which of 4 groups the object belongs to. Specialists take as many steps of their kind as
the joint network whose RGB-D set is repeated 10 times. Figures are accuracies on held-out scenes; a linear probe of the
features on real pictures, Fashion-MNIST; and precision@5: the share of a picture's five neighbours, among depth maps
without colours or among clips, that show the same object or one of the same group. Queries and neighbours are of other
scenes. Between specialists neighbours are those of two networks that have nothing to do with each other.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.data.labelled import FASHION, fashion_mnist, found
from kinema.data.preprocessing import Preprocessing
from kinema.eval.neighbours import nearest, precision
from kinema.eval.probes import linear_probe
from kinema.eval.reports import bars, finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.systems.omnivore.model import HeadConfig, Kind, Omnivore, OmnivoreConfig
from kinema.systems.omnivore.objective import Batch, drop_colours, joint_loss
from kinema.systems.omnivore.recipe import NANO_PIXELS, joint_stage, wake
from kinema.systems.omnivore.sources import (
    MOVEMENTS,
    NANO,
    Source,
    Turns,
    movements,
    normalised,
    relative,
)
from kinema.train import run_stages, seed_everything
from kinema.world.pictures import clips, disparity, pictures
from kinema.world.scene import sample_scene

NAME = "one_for_three"
SIDE, FRAMES, BATCH = 32, 4, 32
GROUPS = {
    "animal": ("cat", "elephant"),
    "food": ("banana", "pizza"),
    "vehicle": ("car", "airplane"),
    "thing": ("guitar", "crown"),
}
MOVES = ("slide left", "slide right", "rise", "fall", "grow", "shrink")
OBJECTS = tuple(name for names in GROUPS.values() for name in names)
PIXELS = dataclasses.replace(NANO_PIXELS, picture=Preprocessing(size=SIDE, interpolation="bilinear"))
CLASSES: dict[Kind, tuple[str, ...]] = {"image": OBJECTS, "video": MOVES, "rgbd": tuple(GROUPS)}
REAL = "Fashion-MNIST probe"
ACROSS: tuple[tuple[str, Kind, int], ...] = (  # figure, kind of the gallery, objects that count as one
    ("depth P@5, group", "rgbd", 2),
    ("depth P@5, object", "rgbd", 1),
    ("clips P@5, object", "video", 1),
)
FIGURES = ("pictures", "clips", "RGB-D", REAL, *(name for name, _, _ in ACROSS))
Row = dict[str, float]


def indices(split: str, first: int, count: int) -> list[int]:
    """The first `count` scenes from `first` on that are about one of the objects in one of the movements."""
    chosen = list[int]()
    while len(chosen) < count:
        scene = sample_scene(split, first, NANO)
        if scene.subject.name in OBJECTS and MOVEMENTS[int(movements([scene]))] in MOVES:
            chosen.append(first)
        first += 1
    return chosen


@cache
def samples(kind: Kind, split: str, first: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels in [0, 1] as bytes, the labels of the kind, and the objects."""
    numbers = indices(split, first, count)
    if kind == "video":
        drawn = clips(numbers, split, FRAMES, SIDE, NANO)
        moves = [MOVES.index(MOVEMENTS[number]) for number in movements(drawn.scenes).tolist()]
        return drawn.pixels, torch.tensor(moves), drawn.labels("object", OBJECTS)
    drawn = pictures(numbers, split, SIDE, NANO)
    objects = drawn.labels("object", OBJECTS)
    if kind == "image":
        return drawn.pixels, objects, objects
    apart = (relative(disparity(drawn.scenes, SIDE)) * 255).round().to(torch.uint8)[:, None, None]
    return torch.cat([drawn.pixels, apart], 1), objects // 2, objects


def source(kind: Kind, batches: int, repeat: float = 1.0) -> Source:
    """Training scenes of a kind, each kind its own."""
    first = {"image": 0, "video": 1_000_000, "rgbd": 2_000_000}[kind]

    def drawn(numbers: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        pixels, labels, _ = samples(kind, "train", first, batches * BATCH)
        x = pixels[list(numbers)].float() / 255
        if kind != "video":
            flip = torch.rand(len(x), generator=generator) < 0.5
            x[flip] = x[flip].flip(-1)
        return x, labels[list(numbers)]

    return Source(kind=kind, classes=CLASSES[kind], samples=drawn, batches=batches, repeat=repeat)


def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The recipe's, without mixing: the runs are short."""
    assert isinstance(network, Omnivore)
    pixels = drop_colours(batch.pixels, generator) if batch.kind == "rgbd" else batch.pixels
    value, _ = joint_loss(network, Batch(batch.kind, pixels, batch.targets))
    return value, {}


def train(sources: Sequence[Source], seed: int) -> Omnivore:
    """A network with heads for these sources after one epoch of them."""
    seed_everything(seed)
    heads = tuple(HeadConfig(kind=each.kind, classes=len(each.classes)) for each in sources)
    network = Omnivore(
        OmnivoreConfig(dim=16, depths=(1, 1, 2), num_heads=(1, 2, 4), window=(4, 4, 4), heads=heads)
    )
    wake(network)
    steps = Turns(sources, PIXELS, BATCH, 0).length
    stage = joint_stage(network, sources, [], PIXELS, steps, BATCH, seed)
    stage.loss, stage.lr, stage.ema_decay = loss, 2e-3, 0.0
    with tempfile.TemporaryDirectory() as folder:
        run_stages([stage], Path(folder), seed=seed, device="cpu", precision="fp32", progress=False)
    return network.eval()


@torch.no_grad()
def features(network: Omnivore, pixels: Tensor, colours: bool = True) -> Tensor:
    """(N, D), of bytes; without `colours` of the disparity alone."""
    rows = []
    for part in pixels.split(64):
        x = normalised(part.float() / 255, PIXELS)
        rows.append(network.features(x if colours else drop_colours(x, torch.Generator(), rate=1.1)))
    return torch.cat(rows)


def score(networks: dict[Kind, Omnivore], count: int) -> Row:
    """Every figure, each kind by its network."""
    row = dict[str, float]()
    for kind, name in (("image", "pictures"), ("video", "clips"), ("rgbd", "RGB-D")):
        pixels, labels, _ = samples(kind, "val", 0, count)
        with torch.no_grad():
            guessed = networks[kind].classify(features(networks[kind], pixels), kind).argmax(1)
        row[name] = float((guessed == labels).float().mean())
    row[REAL] = real(networks["image"], 5 * count)
    queries, _, asked = samples("image", "val", 0, count)
    sought = features(networks["image"], queries)
    for name, kind, merged in ACROSS:
        pixels, _, objects = samples(kind, "val", 500_000, count)  # other scenes
        gallery = features(networks[kind], pixels, colours=kind == "video")
        row[name] = precision(nearest(sought, gallery, 5), asked // merged, objects // merged)
    return row


def real(network: Omnivore, count: int) -> float:
    """A linear probe on Fashion-MNIST; -1 where the package is not here."""
    if found(FASHION) is None:
        return -1.0
    learn, judge = fashion_mnist("train", count), fashion_mnist("test", count)
    rows = [features(network, part.pixels[:, :, None]) for part in (learn, judge)]
    return linear_probe(rows[0], learn.labels, rows[1], judge.labels)


def joint(seed: int, steps: int, rare: int, repeat: float, count: int) -> Row:
    """One network for all kinds; `rare` batches of RGB-D."""
    network = train(
        [source("image", steps, 2.0), source("video", steps, 2.0), source("rgbd", rare, repeat)], seed
    )
    return score({"image": network, "video": network, "rgbd": network}, count)


def specialists(seed: int, steps: int, rare: int, count: int) -> Row:
    """A network for each kind, with the steps that the joint one takes of it."""
    each = (source("image", steps, 2.0), source("video", steps, 2.0), source("rgbd", rare, 10.0))
    return score({one.kind: train([one], seed) for one in each}, count)


def chance(count: int) -> Row:
    """The most frequent class, and neighbours in any order."""

    def share(labels: Tensor) -> Tensor:
        return torch.bincount(labels, minlength=len(OBJECTS)) / len(labels)

    asked = samples("image", "val", 0, count)[2]
    row = {
        name: float(share(samples(kind, "val", 0, count)[1]).max())
        for kind, name in (("image", "pictures"), ("video", "clips"), ("rgbd", "RGB-D"))
    }
    row[REAL] = 0.1 if found(FASHION) is not None else -1.0
    for name, kind, merged in ACROSS:
        objects = samples(kind, "val", 500_000, count)[2]
        row[name] = float((share(asked // merged) * share(objects // merged)).sum())
    return row


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    steps, rare, count = (1, 1, 24) if given.quick else (250, 5, 300)
    settings = {"steps": 2 * steps, "held_out": count, "side": SIDE, "frames": FRAMES, "rgbd": rare * BATCH}
    arms: dict[str, Callable[[int], Row]] = {
        "three specialists": lambda seed: specialists(seed, steps, rare, count),
        "one, RGB-D once": lambda seed: joint(seed, steps, rare, 1.0, count),
        "one, RGB-D 10 times": lambda seed: joint(seed, steps, rare, 10.0, count),
        "one, RGB-D 100 times": lambda seed: joint(seed, steps, rare, 100.0, count),
    }
    if given.quick:
        del arms["one, RGB-D 100 times"]
    runs = [
        Run(arm, seed, settings, lambda seed=seed, do=do: do(seed))
        for seed in range(given.seeds)
        for arm, do in arms.items()
    ]
    rows, spent = run_all(NAME, given, runs)
    rows = {arm: rows[arm] for arm in arms} | {"chance": [chance(count)] * given.seeds}
    if found(FASHION) is None:
        print("Fashion-MNIST is not installed: its column is left out")
        rows = {arm: [{k: v for k, v in row.items() if k != REAL} for row in of] for arm, of in rows.items()}
    shown = tuple(figure for figure in FIGURES if figure in rows["chance"][0])
    results = summary(rows)
    print(table(results, shown, shown))
    finish(
        NAME,
        given,
        spent,
        {"compute": "torch.float32", "settings": settings, "arms": results},
        lambda figure: bars(figure, results, shown, {}),
        (13.0, 3.4),
        folder=Path(__file__).resolve().parent,
    )


if __name__ == "__main__":
    main()
