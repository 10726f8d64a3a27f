"""Omnivore as users call it: a picture, a clip, or a picture with its depth to classes, and to embeddings of one space.

The fourth channel is disparity. Released networks want it in pixels of SUN RGB-D's cameras, so depth has to be in
metres with a focal length. Kinema's own take any kind: they see each map from 0, its farthest place, to 1, its
nearest, so that what `kinema depth` writes will do.
"""

# V views of a file

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.systems.omnivore import weights
from kinema.systems.omnivore.model import Kind, Omnivore, OmnivoreConfig
from kinema.systems.omnivore.preprocessing import OmnivorePreprocessing
from kinema.vision import Media, Vision, read_vision
from kinema.vision.files import fill
from kinema.vision.pipeline import Networks
from kinema.weights import released_file, weights_hash

INPUTS = {"image": "pictures", "video": "clips", "rgbd": "pictures with depth"}


def load(path: Path | None, device: str = "cpu", name: str | None = None) -> Vision:
    """Open kinema's own weights, or with `name` the released file of that name, see `weights.CHECKPOINTS`.

    Raises:
        UserError: the file is missing (says where it is offered), damaged, or of another network.
    """
    if name is not None:
        known = weights.checkpoint(name)
        file = released_file(path, "Omnivore", known.licence, known.address)
        network = weights.load(file, name)
        return Vision(
            networks(network, known.preprocessing, f"omnivore/{name}"),
            name=f"omnivore/{name}",
            config=known.config,
            preprocessing=known.preprocessing,
            device=device,
            weights_hash=weights_hash(file),
        )
    if path is None:
        raise UserError("Omnivore needs weights: give a file with --weights FILE")
    state, about = read_vision(path, "omnivore")
    config = OmnivoreConfig.from_dict(about.config)
    preprocessing = OmnivorePreprocessing.from_dict(about.preprocessing)
    with torch.device("meta"):
        network = Omnivore(config)
    fill(network, state, path)
    return Vision(
        networks(network, preprocessing, "omnivore-nano"),
        name="omnivore-nano",
        labels=about.labels,
        config=config,
        preprocessing=preprocessing,
        device=device,
        weights_hash=weights_hash(path),
    )


def networks(network: Omnivore, settings: OmnivorePreprocessing, name: str) -> Networks:
    """How an Omnivore is used: views by the kind of a file, classes by the head of that kind."""

    def logits(batch: Tensor, kind: Kind) -> Tensor:
        if kind not in network.heads:
            known = " and ".join(INPUTS[each] for each in network.heads)
            raise UserError(
                f"{name} has classes for {known or 'nothing'}, not for {INPUTS[kind]}: give it one of those, or use "
                "`embed`, which needs no classes"
            )
        return network(batch, kind)

    return Networks(
        network=network,
        features=network.features,
        dense=network.dense,
        views=lambda media: views(media, settings),
        frames=settings.sampled,
        kinds=("image", "video", "rgbd") if network.depth is not None else ("image", "video"),
        logits=logits if network.heads else None,
    )


def views(media: Media, settings: OmnivorePreprocessing) -> Tensor:
    """A file as the network's batch: (1, 3 or 4, 1, S, S) of a picture, (V, 3, T, S, S) of a clip.

    Raises UserError where its depth is not of the kind that the network was trained on.
    """
    if media.kind == "video":
        return settings.views(media.frames)
    if media.depth is None:
        return settings.image(media.frames[0])[None]
    return settings.rgbd(media.frames[0], settings.fourth_channel(media.depth))[None]
