"""Can a text tower learn to name what a frozen trunk sees, and does it need a trained trunk (2303.13496, section 4)?

    python experiments/maws/locked_image_tuning.py

A small text transformer, untrained at first, learns from captions of the Small World beside a trunk that stands still:
kinema's nano weights of MAWS, which saw hashtags and no caption; the same trunk with captions dealt out at random; an
untrained trunk. Then scenes that nobody saw are classified by names alone, with no label of a class anywhere.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import kinema
from kinema.data.tagged import whole
from kinema.eval.probes import accuracy
from kinema.eval.reports import bars, finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.nn import VisionTransformer
from kinema.systems.maws import clip
from kinema.systems.maws.lit import WordTokens, lit_stage
from kinema.systems.maws.model import MawsConfig, encoder
from kinema.systems.maws.tagged import WORLD
from kinema.text.xlmr import XlmrConfig
from kinema.train import BatchIndex, make_generator, run_stages, seed_everything
from kinema.world.captions import BACKGROUND_PHRASES, article, caption
from kinema.world.pictures import object_names, pictures
from kinema.world.scene import BACKGROUNDS, Scene

NAME = "locked_image_tuning"
HERE = Path(__file__).resolve().parent
ARMS = ("trained trunk", "captions dealt at random", "untrained trunk")
FIGURES = ("object of 64, %", "place of 10, %", "object in a new motion, %")
TEXT = XlmrConfig(dim=64, depth=2, num_heads=2, hidden=128, vocabulary_size=384, positions=50)
PREPROCESSING_SIZE, JOINT, BATCH, PHRASINGS = 64, 64, 64, 4
Row = dict[str, float]


@dataclass(frozen=True)
class Size:
    """Captioned pictures to learn from, pictures to judge by, and steps."""

    shown: int = 6000
    held: int = 1000
    steps: int = 600


@dataclass(frozen=True)
class Seen:
    """What a trunk makes of pictures, (N, D), and the scenes that they show."""

    features: Tensor
    scenes: tuple[Scene, ...]


@torch.no_grad()
def seen(trunk: VisionTransformer, count: int, split: str) -> Seen:
    """Features of the first scenes of a split."""
    rendered = pictures(range(count), split, PREPROCESSING_SIZE, WORLD)
    preprocessing = kinema.load("maws").preprocessing
    parts = rendered.pixels[:, :, 0].split(200)
    return Seen(
        torch.cat([trunk.features(whole(list(part), preprocessing)) for part in parts]), rendered.scenes
    )


@lru_cache(maxsize=8)
def looked_at(trained: bool, seed: int, size: Size) -> dict[str, Seen]:
    """What the trunk sees in all splits."""
    see = kinema.load("maws")
    seed_everything(seed)
    trunk = see.network if trained else encoder(MawsConfig.from_dict(see.config.to_dict())).eval()
    return {
        "train": seen(trunk, size.shown, "train"),
        "val": seen(trunk, size.held, "val"),
        "test-pairs": seen(trunk, size.held, "test-pairs"),
    }


def run(arm: str, seed: int, size: Size) -> Row:
    """Figures of one arm."""
    looked = looked_at(arm != "untrained trunk", 0 if arm != "untrained trunk" else seed, size)
    shown, generator = looked["train"], make_generator(seed, "captions")
    dealt = torch.randperm(len(shown.scenes), generator=generator).tolist()
    owners = dealt if arm == "captions dealt at random" else list(range(len(shown.scenes)))
    texts = [[caption(shown.scenes[owner], k) for k in range(1, PHRASINGS + 1)] for owner in owners]
    seed_everything(seed)
    vision = kinema.load("maws").config.at(PREPROCESSING_SIZE)
    tokens = WordTokens((text for own in texts for text in own), TEXT.vocabulary_size)
    model = clip.build(clip.ClipConfig(vision=vision, text=TEXT, joint_dim=JOINT), tokens)

    def batches(index: BatchIndex) -> tuple[Tensor, list[str]]:
        drawn = index.generator()
        places = torch.randint(len(texts), (len(index.indices),), generator=drawn)
        phrasing = torch.randint(PHRASINGS, (len(index.indices),), generator=drawn).tolist()
        return shown.features[places], [texts[p][k] for p, k in zip(places.tolist(), phrasing, strict=True)]

    stage = lit_stage(model, batches, steps=size.steps, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as folder:
        run_stages([stage], Path(folder), seed=seed, device="cpu", progress=False)
    model.eval()
    objects = model.class_embeds([(article(name), f"one {name}", name) for name in object_names(WORLD)])
    places = model.class_embeds([BACKGROUND_PHRASES[name] for name in BACKGROUNDS])
    figures = (
        named(
            model,
            looked["val"],
            objects,
            [scene.subject.name for scene in looked["val"].scenes],
            object_names(WORLD),
        ),
        named(
            model, looked["val"], places, [scene.background for scene in looked["val"].scenes], BACKGROUNDS
        ),
        named(
            model,
            looked["test-pairs"],
            objects,
            [scene.subject.name for scene in looked["test-pairs"].scenes],
            object_names(WORLD),
        ),
    )
    return {name: round(100 * value, 2) for name, value in zip(FIGURES, figures, strict=True)}


@torch.no_grad()
def named(
    model: clip.MawsClip, looked: Seen, classes: Tensor, right: list[str], names: tuple[str, ...]
) -> float:
    """Accuracy where the class whose words lie nearest is taken."""
    found = torch.nn.functional.normalize(looked.features @ model.vision_projection, dim=1) @ classes.T
    return accuracy(found, torch.tensor([names.index(name) for name in right]))


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    size = Size(60, 40, 3) if given.quick else Size()
    settings: dict[str, Any] = asdict(size) | {
        "text": TEXT.to_dict(),
        "weights": kinema.load("maws").weights_hash,
    }
    runs = [
        Run(arm, seed, settings, partial(run, arm, seed, size)) for seed in range(given.seeds) for arm in ARMS
    ]
    found, spent = run_all(NAME, given, runs)
    arms = summary({arm: found[arm] for arm in ARMS})
    chance = {FIGURES[0]: 100 / 64, FIGURES[1]: 10.0, FIGURES[2]: 100 / 64}
    print(table(arms, FIGURES))
    finish(
        NAME,
        given,
        spent,
        {"settings": settings, "arms": arms, "chance": chance},
        lambda figure: bars(figure, arms, FIGURES, {}),
        (9.0, 3.2),
        folder=HERE,
    )


if __name__ == "__main__":
    main()
