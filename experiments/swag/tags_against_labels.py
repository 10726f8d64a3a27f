"""Learning from noisy tags against learning from pixels alone and against learning from nothing but the labels.

    python experiments/swag/tags_against_labels.py

A vision transformer of nano's size learns from the same scenes in the same order, in about the same processor time:
their tags by one softmax with 1/K on each, their tags by a sigmoid each, or masked pixels. Frozen, it is probed with
all labels and with five a class: on objects that its scenes showed, on objects that they never showed, and on real
pictures. Scratch learns all its weights from the probe's labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import swag_data
import torch
import torch.nn.functional as F
from swag_data import Probe, corpus, probed, probes
from torch import Tensor, nn

from kinema.eval.probes import accuracy, chosen
from kinema.eval.reports import finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.nn.masked_autoencoder import (
    MaskedAutoencoder,
    PixelDecoder,
    masked_loss,
    pixel_targets,
    random_keep,
)
from kinema.nn.position_tables import GridPositions
from kinema.nn.vit import VisionTransformer, transformer_blocks
from kinema.systems.swag.model import ViTConfig, at, build, preset
from kinema.systems.swag.recipe import NANO, tag_loss, tag_stage
from kinema.systems.swag.tagged import TagBatch, TagBatches, augmented
from kinema.systems.swag.transfer import ClassBatch, finetune_loss
from kinema.train import BatchIndex, Stage, seed_everything

NAME = "tags_against_labels"
ARMS = ("tags, softmax", "tags, sigmoids", "masked pixels", "scratch", "untrained")
PENALTIES = (1e-2, 1e-1, 1e-3)
PATCH, KEEP = 8, 4  # of 16 tokens an encoder of masked pictures sees 4
Row = dict[str, float]
Settings = dict[str, int]


def trunk_config() -> ViTConfig:
    """Nano's transformer with 16 patches in place of 64, so that it sees more pictures in the time."""
    config = preset("nano_vit")
    assert isinstance(config, ViTConfig)
    return replace(config, patch=PATCH, image_size=swag_data.SIZE)


def vit(num_classes: int = 0) -> VisionTransformer:
    """Untrained."""
    network = build(at(trunk_config(), num_classes))
    assert isinstance(network, VisionTransformer)
    return network


def sigmoid_loss(
    model: nn.Module, batch: TagBatch, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Binary cross-entropy of every tag, summed over tags. The generator is not needed."""
    logits = model(batch.pixels).float()
    loss = F.binary_cross_entropy_with_logits(logits, (batch.targets > 0).float(), reduction="sum") / len(
        logits
    )
    return loss, {}


def pixel_loss(
    model: MaskedAutoencoder, batch: TagBatch, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Masked autoencoding with targets normalised by patch."""
    x = batch.pixels
    keep = random_keep(torch.rand(len(x), model.tokens(x), generator=generator), KEEP)
    return masked_loss(model(x, keep), pixel_targets(x, model.patch), keep), {}


def autoencoder() -> MaskedAutoencoder:
    """The same encoder with two blocks of half its width as decoder."""
    encoder, width = vit(), trunk_config().dim // 2
    positions = GridPositions(width, trunk_config().grid, prefix=1)
    decoder = PixelDecoder(encoder.dim, width, positions, transformer_blocks(width, 2, 4), 3 * PATCH * PATCH)
    return MaskedAutoencoder(encoder, decoder)


def pretrained(arm: str, seed: int, given: Settings) -> tuple[VisionTransformer, float]:
    """The trunk of an arm, and the processor seconds that a hundred steps took."""
    data = corpus(given["pictures"], given["min_count"])
    seed_everything(seed)
    first = vit(len(data.vocabulary))
    if arm == "untrained":
        return first.eval(), 0.0
    model: nn.Module = autoencoder() if arm == "masked pixels" else first
    settings = replace(NANO["nano_vit"], steps=given["steps"], batch_size=given["batch"])
    stage = tag_stage(model, TagBatches(data, swag_data.PREPROCESSING), settings)  # type: ignore[arg-type]
    stage.loss = {"tags, softmax": tag_loss, "tags, sigmoids": sigmoid_loss, "masked pixels": pixel_loss}[arm]
    stage.lr, stage.schedule = 2e-3, "cosine"
    began = time.process_time()
    trained = swag_data.train(stage, seed)
    spent = 100 * (time.process_time() - began) / given["steps"]
    return (trained.encoder if isinstance(trained, MaskedAutoencoder) else trained), spent  # type: ignore[return-value]


def pooled(arm: str, network: VisionTransformer) -> Callable[[Tensor], Tensor]:
    """The class token, which tags are predicted from; of masked pixels the mean of the patches."""
    if arm == "masked pixels":
        return lambda x: network.dense(x).mean((2, 3))
    return network.features


def from_scratch(probe: Probe, places: Tensor, seed: int, steps: int, batch: int) -> float:
    """Accuracy of a transformer that learned from these labelled pictures alone."""
    seed_everything(seed)
    pixels, labels = list(probe.pixels[places]), probe.labels[places]
    targets = torch.eye(probe.num_classes)

    def batches(index: BatchIndex) -> ClassBatch:
        order = torch.randint(len(labels), (len(index.indices),), generator=index.generator("scratch"))
        seeds = [f"{index.seed}:{number}" for number in index.indices]
        x = augmented([pixels[k] for k in order], swag_data.PREPROCESSING, seeds)
        return ClassBatch(x, targets[labels[order]])

    stage = Stage(
        name="scratch",
        model=vit(probe.num_classes),
        loss=finetune_loss,
        batches=batches,
        steps=steps,
        batch_size=batch,
        lr=2e-3,
        weight_decay=0.1,
        schedule="cosine",
        warmup_steps=steps // 20,
    )
    network = swag_data.train(stage, seed)
    with torch.no_grad():
        return accuracy(swag_data.in_parts(network, probe.test_pixels), probe.test_labels)


def run(arm: str, seed: int, given: Settings) -> Row:
    """Figures of one arm and seed."""
    row: Row = {}
    if arm == "scratch":
        for probe in probes(given["labelled"]):
            every = torch.arange(len(probe.labels))
            few = chosen(probe.labels, given["shots"], seed)
            steps, fewer, batch = given["scratch_steps"], max(1, given["scratch_steps"] // 4), given["batch"]
            whole = steps if len(every) > 500 else fewer  # about ten epochs of either
            row[f"{probe.name}, all labels"] = from_scratch(probe, every, seed, whole, batch)
            row[f"{probe.name}, 5 a class"] = from_scratch(probe, few, seed, fewer, batch)
        return row | {"seconds": 0.0}
    network, spent = pretrained(arm, seed, given)
    for probe in probes(given["labelled"]):
        penalties = PENALTIES[: given["penalties"]]
        every_label, five = probed(pooled(arm, network), probe, seed, given["shots"], penalties)
        row |= {f"{probe.name}, all labels": every_label, f"{probe.name}, 5 a class": five}
    return row | {"seconds": spent}


def draw(figure: object, arms: dict[str, Row], names: list[str]) -> None:
    """One panel for all labels, one for five a class; groups of bars are sets, bars arms."""
    for axis, kind in zip(figure.subplots(1, 2), ("all labels", "5 a class"), strict=True):  # type: ignore[attr-defined]
        for place, (arm, row) in enumerate(arms.items()):
            cells = [row[f"{name}, {kind}"] for name in names]
            axis.bar(
                [k + 0.16 * place for k in range(len(names))],
                [cell["mean"] for cell in cells],
                0.15,
                yerr=[cell["std"] for cell in cells],
                capsize=2,
                label=arm,
            )
        axis.set_xticks([k + 0.32 for k in range(len(names))], names, fontsize=8)
        axis.set_title(f"accuracy, {kind}", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)  # type: ignore[attr-defined]


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    settings: Settings = {
        "pictures": 12000, "min_count": 20, "steps": 600, "batch": 64, "scratch_steps": 200, "labelled": 1200,
        "shots": 5, "penalties": 3,
    }  # fmt: skip
    if given.quick:
        small = {"pictures": 100, "min_count": 2, "steps": 2, "batch": 8, "scratch_steps": 2, "labelled": 160}
        settings |= small | {"shots": 1, "penalties": 1}
    names = swag_data.probe_names()
    shown = {"sets": names, "width": trunk_config().dim, "patch": PATCH}
    runs = [
        Run(arm, seed, settings | shown, lambda arm=arm, seed=seed: run(arm, seed, settings))
        for seed in range(given.seeds)
        for arm in (ARMS[1:4] if given.quick else ARMS)
    ]
    found, spent = run_all(NAME, given, runs)
    arms = summary(found)
    figures = [figure for figure in next(iter(arms.values())) if figure != "seconds"]
    for kind in ("all labels", "5 a class"):
        own = [figure for figure in figures if figure.endswith(kind)]
        print(table(arms, own, own))
    if len(names) < 4:
        print("Fashion-MNIST or the stamps are not here: see kinema.data.labelled")
    finish(
        NAME,
        given,
        spent,
        {"settings": settings | shown, "arms": arms},
        lambda figure: draw(figure, arms, names),
        (12.0, 3.6),
        folder=Path(__file__).resolve().parent,
    )


if __name__ == "__main__":
    main()
