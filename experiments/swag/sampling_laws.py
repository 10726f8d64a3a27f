"""How often to show pictures of rare tags: as they come, by the square root, all tags alike.

    python experiments/swag/sampling_laws.py

Objects of training scenes follow Zipf's law: the first is in 64 times as many pictures as the last. A RegNet learns
their written tags; then objects are told apart through the tag-to-class matrix, with and without the correction for
the training prior, on held-out pictures of all objects alike. Every seed has another order of objects.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import swag_data
import torch
from torch import Tensor

from kinema.data.hashtags import Vocabulary
from kinema.eval.probes import linear_probe
from kinema.eval.reports import bars, finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.systems.swag.model import at, build, preset
from kinema.systems.swag.recipe import NANO, tag_stage
from kinema.systems.swag.tagged import EncodedPictures, TagBatches
from kinema.systems.swag.zero_shot import tag_classes, zero_shot
from kinema.train import make_generator, seed_everything
from kinema.world.hashtags import hashtags
from kinema.world.pictures import object_names, pictures
from kinema.world.scene import WorldSpec, sample_scene

NAME = "sampling_laws"
LAWS = {"as it is": 0.0, "square root": 0.5, "all tags alike": 1.0}
SPEC = WorldSpec(
    vocabulary="nano", actor_odds=(1.0, 0.0, 0.0)
)  # nothing rare in the background of what is frequent
PENALTIES = (1e-2, 1e-1, 1e-3)
Row = dict[str, float]


@cache
def long_tail(seed: int, count: int) -> tuple[EncodedPictures, tuple[str, ...]]:
    """About `count` pictures whose objects follow Zipf's law, and the objects, the most frequent first."""
    names = object_names(SPEC)
    order = torch.randperm(len(names), generator=make_generator("zipf", seed)).tolist()
    ranked = tuple(names[place] for place in order)
    harmonic = sum(1 / rank for rank in range(1, len(names) + 1))
    left = {name: max(2, round(count / rank / harmonic)) for rank, name in enumerate(ranked, 1)}
    chosen, number = [], 0
    while any(left.values()):
        scene = sample_scene("train", number, SPEC)
        if left[scene.subject.name]:
            left[scene.subject.name] -= 1
            chosen.append(scene)
        number += 1
    written = [hashtags(scene) for scene in chosen]
    vocabulary = Vocabulary.build(written, min_count=5)
    numbers = [scene.index for scene in chosen]
    parts = [numbers[k : k + 1000] for k in range(0, len(numbers), 1000)]
    pixels = torch.cat([pictures(part, "train", swag_data.SIZE, SPEC).pixels[:, :, 0] for part in parts])
    tags = tuple(vocabulary.encode(each) for each in written)
    return EncodedPictures(tags, vocabulary, lambda places: list(pixels[list(places)])), ranked


@cache
def held_out(count: int) -> tuple[Tensor, tuple[str, ...]]:
    """Pixels, and the name of the object in each."""
    shown = pictures(range(count), "val", swag_data.SIZE, SPEC)
    return shown.pixels[:, :, 0], tuple(scene.subject.name for scene in shown.scenes)


def by_part(right: Tensor, labels: Tensor) -> Row:
    """Accuracy of each object, then means over objects: of all, and of each part of their order."""
    classes = [right[labels == label].float().mean() for label in labels.unique().tolist()]
    ranks = labels.unique()
    each = torch.stack(classes)
    bounds = {"head": (0, 16), "middle": (16, 48), "tail": (48, 64)}  # of 64 objects
    row = {part: float(each[(ranks >= low) & (ranks < high)].mean()) for part, (low, high) in bounds.items()}
    return {"all": float(each.mean())} | row


def run(law: str, seed: int, count: int, steps: int, batch: int, tested: int) -> Row:
    """Figures of one law and seed."""
    data, ranked = long_tail(seed, count)
    seed_everything(seed)
    config = at(preset("nano"), len(data.vocabulary))
    batches = TagBatches(data, swag_data.PREPROCESSING, LAWS[law], most=None)
    given = replace(NANO["nano"], size=swag_data.SIZE, steps=steps, batch_size=batch)
    network = swag_data.train(tag_stage(build(config), batches, given), seed)
    pixels, names = held_out(tested)
    labels = torch.tensor([ranked.index(name) for name in names])
    logits = swag_data.in_parts(network, pixels)
    classes = tag_classes(data.vocabulary, {name: [name] for name in ranked})
    row = {}
    for kind, prior in (("plain", None), ("corrected", batches.prior)):
        right = zero_shot(logits, classes, prior).argmax(1) == labels
        row |= {f"{part}, {kind}": value for part, value in by_part(right, labels).items()}
    features = swag_data.in_parts(network.features, pixels)
    half = len(features) // 2
    penalties = PENALTIES[: 1 if steps < 10 else None]
    row["linear probe"] = linear_probe(
        features[:half], labels[:half], features[half:], labels[half:], penalties
    )
    return row


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    settings = {"pictures": 8000, "steps": 600, "batch": 64, "tested": 2560}
    if given.quick:
        settings = {"pictures": 200, "steps": 2, "batch": 8, "tested": 256}
    runs = [
        Run(law, seed, settings, lambda law=law, seed=seed: run(law, seed, *settings.values()))
        for seed in range(given.seeds)
        for law in LAWS
    ]
    found, spent = run_all(NAME, given, runs)
    arms = summary(found)
    figures = tuple(next(iter(arms.values())))
    print(table(arms, figures, figures))
    shown = ("head, plain", "tail, plain", "head, corrected", "tail, corrected", "all, corrected")
    finish(
        NAME,
        given,
        spent,
        {"settings": settings, "chance": 1 / 64, "arms": arms},
        lambda figure: bars(figure, arms, shown, {}),
        (12.0, 3.2),
        folder=Path(__file__).resolve().parent,
    )


if __name__ == "__main__":
    main()
