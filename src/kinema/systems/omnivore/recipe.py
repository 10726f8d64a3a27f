"""Omnivore at nano size: one network for pictures, clips and RGB-D, from nothing (2201.08377, section 3).

The paper's claim: trained jointly, one network with one set of weights serves all three kinds as well as three networks
of its size, and finds neighbours across them although no pairs were shown.

    kinema train omnivore --out runs/omnivore
    kinema train omnivore --data FOLDER --out runs/mine     # one subfolder per class, see `folder.py`

One stage. A step is a batch of one kind, by a shuffled order of all data sets in which the rare kind is repeated; the
colours of half of the RGB-D pictures are dropped; targets are smoothed and mixed; the rate rises in a line, falls along
a cosine to a tenth, and ends in a line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.systems.omnivore.folder import folder_sources
from kinema.systems.omnivore.model import HeadConfig, Omnivore, OmnivoreConfig
from kinema.systems.omnivore.objective import Batch, drop_colours, joint_loss
from kinema.systems.omnivore.preprocessing import OmnivorePreprocessing
from kinema.systems.omnivore.sources import Source, Turns, normalised, world_sources
from kinema.train import Recipe, Stage, derive_seed, seed_everything
from kinema.train.mixing import mixed
from kinema.vision import VisionFile, read_vision, save_vision
from kinema.weights import load_strict

ROOM: Final = "omnivore"
NANO_PIXELS: Final = OmnivorePreprocessing(
    picture=Preprocessing(size=64, interpolation="bilinear"),
    disparity="relative",
    max_disparity=1.0,
    min_disparity=0.0,
    depth_mean=0.2,
    depth_std=0.3,
    frames=8,
    sampled=8,
    stride=8,
    squares=(1,),
    antialias=True,
)
STEPS: Final = 6_000
FOLDER_STEPS: Final = 1_000  # for a folder of the user's own
MIXED: Final = (
    0.3  # share of batches that are mixed; the paper, which trains for hundreds of epochs, mixes all
)


def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the batch's own head, after colours were dropped and samples mixed."""
    assert isinstance(network, Omnivore)
    pixels, targets = batch.pixels, batch.targets
    if batch.kind == "rgbd":
        pixels = drop_colours(pixels, generator)
    if float(torch.rand((), generator=generator, device=generator.device)) < MIXED:
        pixels, targets = mixed(pixels, targets, generator)
    value, logs = joint_loss(network, Batch(batch.kind, pixels, targets))
    return value, {"top1": logs[f"{batch.kind}/top1"]}  # one name, since means are over steps of all kinds


@torch.no_grad()
def wake(network: Omnivore) -> None:
    """Start the trunk's matrices at N(0, 1 / inputs): the published 0.02 leaves blocks of 32 channels nearly silent."""
    for layer in network.trunk.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)


def measured(
    network: nn.Module, sources: Sequence[Source], settings: OmnivorePreprocessing, batches: int = 8
) -> Mapping[str, float]:
    """Accuracy of each kind on held-out samples; where a kind has groups of classes, of each group."""
    assert isinstance(network, Omnivore)
    found = dict[str, float]()
    for source in sources:
        groups = source.groups or (len(source.classes),)
        right, seen = [0] * len(groups), 0
        for turn in range(batches):
            pixels, labels = source.samples(
                range(turn * 32, turn * 32 + 32), torch.Generator().manual_seed(turn)
            )
            if not len(labels):
                break
            parts = network(normalised(pixels, settings), source.kind).split(list(groups), 1)
            first = 0
            for place, part in enumerate(parts):
                wanted = labels.view(len(labels), -1)[:, place] - first
                right[place] += int((part.argmax(1) == wanted).sum())
                first += part.shape[1]
            seen += len(labels)
        names = [source.kind] + [f"{source.kind}_{place + 1}" for place in range(1, len(groups))]
        found |= {name: count / seen for name, count in zip(names, right, strict=True)}
    return found


def joint_stage(
    network: Omnivore,
    sources: Sequence[Source],
    held_out: Sequence[Source],
    settings: OmnivorePreprocessing,
    steps: int = STEPS,
    batch_size: int = 32,
    seed: int = 0,
) -> Stage:
    """All kinds in turn through one trunk."""
    return Stage(
        name="joint",
        model=network,
        loss=loss,
        batches=Turns(sources, settings, batch_size, derive_seed(seed, "turns") % 2**31),
        steps=steps,
        batch_size=batch_size,
        lr=1e-3,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        schedule="cosine_line",
        warmup_steps=steps // 10,
        decay_fraction=0.1,
        lr_floor=5e-4,
        ema_decay=0.998 if steps > 2000 else 0.9,
        log_every=20,
        checkpoint_every=200,
        validate=(lambda model, folder: measured(model, held_out, settings)) if held_out else None,
        validate_every=1500,
    )


def recipe(preset: str = "nano", data: Path | None = None, seed: int = 0, init: Path | None = None) -> Recipe:
    """The one stage; `init` starts from the trunk of a weight file, and its heads where the classes are the same.

    Raises:
        UserError: the folder of `data` has no classes, or the weights of `init` are of another size.
    """
    seed_everything(seed)
    settings = NANO_PIXELS
    if data is None:
        sources, held_out = (
            world_sources(settings.picture.size, settings.frames, 2_730, split) for split in ("train", "val")
        )
    else:
        sources, held_out = folder_sources(data, settings)
    labels: dict[str, tuple[str, ...]] = {source.kind: source.classes for source in sources}
    heads = tuple(HeadConfig(kind=source.kind, classes=len(source.classes)) for source in sources)
    network = Omnivore(dataclasses.replace(OmnivoreConfig.preset(preset), heads=heads))
    wake(network)
    if init is not None:
        begin(network, labels, init)
    steps = STEPS if data is None else FOLDER_STEPS
    stage = joint_stage(network, sources, held_out, settings, steps, seed=seed)

    def finish(folder: Path) -> Path:
        path = folder / "model.safetensors"
        about = VisionFile(
            room=ROOM,
            network="swin",
            config=network.config.to_dict(),
            preprocessing=settings.to_dict(),
            labels={kind: list(names) for kind, names in labels.items()},
            facts={"trained_on": "the Small World" if data is None else "a folder", "steps": stage.steps},
        )
        save_vision(network, path, about)
        return path

    return Recipe(stages=[stage], finish=finish)


def begin(network: Omnivore, labels: Mapping[str, Sequence[str]], init: Path) -> None:
    """Take the trunk of a weight file, and the heads whose classes are the same."""
    state, about = read_vision(init, ROOM)
    start = OmnivoreConfig.from_dict(about.config)
    if dataclasses.replace(start, heads=network.config.heads) != network.config:
        raise UserError(
            f"the weights in '{init.name}' are of another size than the network: leave out --init"
        )
    own = network.state_dict()
    for name, value in state.items():
        kind = name.split(".")[1]
        known = list(about.labels.get(kind, ())) == list(labels.get(kind, ()))
        if not name.startswith("heads.") or (kind in labels and known):
            own[name] = value
    load_strict(network, own, init)
