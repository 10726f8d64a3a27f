"""Early convolutions as users call them: a picture to the kinds of things, and to embeddings."""

from __future__ import annotations

from pathlib import Path

import torch

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.nn import VisionTransformer
from kinema.systems.early_conv.model import EarlyConvConfig, build
from kinema.vision import Vision, VisionFile, read_vision
from kinema.vision.files import fill
from kinema.vision.pipeline import image_networks
from kinema.weights import weights_hash

ROOM = "early_conv"


def load(path: Path | None, device: str = "cpu", name: str | None = None) -> Vision:
    """Open a file that `kinema train early-conv-nano` wrote.

    Args:
        name: of a published file, of which there is none.

    Raises:
        UserError: the file is missing, damaged, or of another network; or a published one is asked for.
    """
    if name is not None:
        raise UserError(
            f"there is no published file '{name}': the weights of Early Convolutions were never released, so train "
            "some with `kinema train early-conv-nano --out RUN`, or take early-conv-nano"
        )
    if path is None:
        raise UserError("early convolutions need weights: give a file with --weights FILE")
    network, config, about = read_network(path)
    preprocessing = Preprocessing.from_dict(about.preprocessing)
    return Vision(
        image_networks(network, preprocessing, classes=bool(config.num_classes)),
        name="early-conv-nano",
        labels=about.labels,
        config=config,
        preprocessing=preprocessing,
        device=device,
        weights_hash=weights_hash(path),
    )


def read_network(path: Path) -> tuple[VisionTransformer, EarlyConvConfig, VisionFile]:
    """The network of a file in evaluation mode, its settings, and what stands beside its tensors.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    state, about = read_vision(path, ROOM)
    if about.network != "vit":
        raise UserError(
            f"'{path.name}' holds the network '{about.network}', which early convolutions do not have"
        )
    config = EarlyConvConfig.from_dict(about.config)
    with torch.device("meta"):
        network = build(config)
    fill(network, state, path)
    return network, config, about
