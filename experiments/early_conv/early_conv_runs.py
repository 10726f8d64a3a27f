"""What the experiments on early convolutions share: three tasks, three stems, one length of schedule, and the grid.

A network has 16 tokens of width 48 and sees 32 pixels. ViT_P has three blocks; ViT_C two, and its small convolutions
cost what the third would; the control is ViT_C without batch norm and ReLU, a stem that is linear.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kinema.data.labelled import FASHION, LabelledPictures, fashion_mnist, found
from kinema.systems.early_conv.model import EarlyConvConfig, build
from kinema.systems.early_conv.short_runs import Schedule, error_after
from kinema.systems.early_conv.study import OptimizerKind
from kinema.world.pictures import Rendered, pictures
from kinema.world.scene import WorldSpec

HERE = Path(__file__).resolve().parent
SIDE, BATCH, STEPS = 32, 64, 60
TRAINING, CHOOSING, TEST = 4000, 500, 1000  # pictures; learning rates are chosen on the second
# One thing in the middle of what is drawn: smaller ones are not learned at all in runs of seconds.
WORLD, DRAWN = WorldSpec(vocabulary="nano", actor_odds=(1.0, 0.0, 0.0), static_camera=1.0), 48
STEMS = ("ViT_P", "ViT_C", "control")
OPTIMIZERS: tuple[OptimizerKind, ...] = ("adamw", "sgd")
NAMES = {"adamw": "AdamW", "sgd": "SGD"}
MIDDLES = {"adamw": 3e-3, "sgd": 0.05}  # of the grids of learning rates
FACTORS = {"1/9": 1 / 9, "1/3": 1 / 3, "1": 1.0, "3": 3.0, "9": 9.0}
# 60 steps are too few to tell a good decay: these are the paper's for its small models.
DECAY = {"adamw": 0.2, "sgd": 1.3e-5}
_NETWORK = {"dim": 48, "num_heads": 4, "mlp_ratio": 3, "patch": 8, "image_size": SIDE}


class Task(NamedTuple):
    """Pictures to train on, to choose settings by, and to measure with."""

    training: LabelledPictures
    choosing: LabelledPictures
    test: LabelledPictures


def tasks() -> tuple[str, ...]:
    """Those whose pictures are here: Fashion-MNIST needs a package."""
    here = ("background", "colour")
    return (*here, "Fashion-MNIST") if found(FASHION) else here


@lru_cache(maxsize=1)
def _world(share: int) -> tuple[Rendered, Rendered]:
    train = pictures(range((TRAINING + CHOOSING) // share), "train", DRAWN, WORLD)
    return train, pictures(range(TEST // share), "val", DRAWN, WORLD)


@lru_cache(maxsize=3)
def task(name: str, share: int = 1) -> Task:
    """A task's pictures, or a `share`-th of them.

    Told apart are what a scene stands before, the colour of its subject, or kinds of clothes.
    """
    kept = TRAINING // share
    if name == "Fashion-MNIST":
        train = fashion_mnist("train", (TRAINING + CHOOSING) // share)
        test = fashion_mnist("test", TEST // share)
    else:
        parts = _world(share)
        key = (lambda s: s.background) if name == "background" else (lambda s: s.subject.colour)
        classes = tuple(sorted({key(scene) for scene in parts[0].scenes}))
        edge = (DRAWN - SIDE) // 2
        middle = (slice(None), slice(None), 0, slice(edge, edge + SIDE), slice(edge, edge + SIDE))
        train, test = (
            LabelledPictures(part.pixels[middle].contiguous(), part.labels(name, classes), classes)
            for part in parts
        )
    places = torch.arange(len(train))
    return Task(train.chosen(places[:kept]), train.chosen(places[kept:]), test)


def config(stem: str, classes: int) -> EarlyConvConfig:
    """The network behind a stem."""
    if stem == "ViT_P":
        return EarlyConvConfig(**_NETWORK, depth=3, num_classes=classes)
    return EarlyConvConfig(
        **_NETWORK,
        depth=2,
        num_classes=classes,
        widths=(12, 24, 48),
        strides=(2, 2, 2),
        between="nothing" if stem == "control" else "norm and relu",
    )


def error(
    name: str,
    stem: str,
    optimizer: OptimizerKind,
    lr: float,
    decay: float,
    seed: int,
    *,
    length: int = 1,
    choosing: bool = False,
    quick: bool = False,
) -> float:
    """One run: its error in percent, on the test pictures or on those for choosing."""
    own = task(name, 20 if quick else 1)
    sizes = config(stem, len(own.training.classes))
    return error_after(
        lambda: build(sizes),
        own.training,
        own.choosing if choosing else own.test,
        Schedule(steps=2 if quick else length * STEPS, batch_size=8 if quick else BATCH),
        optimizer=optimizer,
        lr=lr,
        weight_decay=decay,
        seed=seed,
    )


def settings() -> dict[str, Any]:
    """What decides a run, for its record."""
    return {
        "pixels": SIDE,
        "batch_size": BATCH,
        "steps": STEPS,
        "training_pictures": TRAINING,
        "test_pictures": TEST,
        "network": {**_NETWORK, "depth": [3, 2]},
        "decay": DECAY,
        "version": 3,
    }


def rates(name: str, optimizer: OptimizerKind) -> dict[str, float]:
    """Stem -> the learning rate with the lowest mean error of `learning_rates.py`; "both": of the mean over stems."""
    arms = json.loads((HERE / "results" / "learning_rates.json").read_text(encoding="utf-8"))["arms"]
    rows = {
        stem: [arms[arm(name, stem, optimizer)][f]["mean"] for f in FACTORS] for stem in ("ViT_P", "ViT_C")
    }
    rows["both"] = [sum(pair) / 2 for pair in zip(*rows.values(), strict=True)]
    middle, factors = MIDDLES[optimizer], tuple(FACTORS.values())
    return {stem: middle * factors[_lowest(row)] for stem, row in rows.items()}


def arm(name: str, stem: str, optimizer: OptimizerKind) -> str:
    """What a row is called."""
    return f"{name}, {stem}, {NAMES[optimizer]}"


def _lowest(row: Sequence[float]) -> int:
    return min(range(len(row)), key=lambda k: row[k])
