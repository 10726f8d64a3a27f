"""SWAG as users call it: a picture to hashtags or classes, and to embeddings."""

from __future__ import annotations

from pathlib import Path

import torch

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.systems.swag import weights
from kinema.systems.swag.model import RegNetConfig, ViTConfig, build
from kinema.vision import Vision, read_vision
from kinema.vision.files import fill
from kinema.vision.pipeline import image_networks
from kinema.weights import released_file, weights_hash

CONFIGS: dict[str, type[RegNetConfig] | type[ViTConfig]] = {"regnet": RegNetConfig, "vit": ViTConfig}


def load(path: Path | None, device: str = "cpu", name: str | None = None) -> Vision:
    """Open kinema's own weights, or with `name` the released file of that name, see `weights.CHECKPOINTS`.

    Raises:
        UserError: the file is missing (says where it is offered), damaged, or of another network.
    """
    if name is not None:
        known = weights.checkpoint(name)
        file = released_file(path, "SWAG", known.licence, known.address)
        network = weights.load(file, name)
        parts = image_networks(network, known.preprocessing, classes=bool(known.config.num_classes))
        return Vision(
            parts,
            name=f"swag/{name}",
            config=known.config,
            preprocessing=known.preprocessing,
            device=device,
            weights_hash=weights_hash(file),
        )
    if path is None:
        raise UserError("SWAG needs weights: give a file with --weights FILE")
    state, about = read_vision(path, "swag")
    if about.network not in CONFIGS:
        raise UserError(f"'{path.name}' holds the network '{about.network}', which SWAG does not have")
    config = CONFIGS[about.network].from_dict(about.config)
    preprocessing = Preprocessing.from_dict(about.preprocessing)
    with torch.device("meta"):
        network = build(config)
    fill(network, state, path)
    return Vision(
        image_networks(network, preprocessing, classes=bool(config.num_classes)),
        name="swag-nano",
        labels=about.labels,
        config=config,
        preprocessing=preprocessing,
        device=device,
        weights_hash=weights_hash(path),
    )
