"""MAWS as users call it: a picture to hashtags or classes, and to embeddings; with a text tower, to classes in words.

kinema.load("maws").classify("fox.jpg")
kinema.load("maws/vit_b16_maws", weights="vit_b16.pt").embed(["fox.jpg"])
kinema.load("maws/vit_b16_xlmr_b", weights="vit_b16_xlmr_b.pt", tokenizer="xlmr.sentencepiece.bpe.model",
            classes=["fox", "bateau"]).classify("fox.jpg")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.nn import MaskedAutoencoder, VisionTransformer
from kinema.systems.maws import clip, weights
from kinema.systems.maws.model import MawsConfig, autoencoder, encoder
from kinema.text.tokens import TokenIds
from kinema.vision import Vision, read_vision
from kinema.vision.files import fill
from kinema.vision.pipeline import Networks, image_networks
from kinema.weights import released_file, weights_hash

PROMPTS: Final = ("a photo of {}", "a picture of {}", "{}")
Classes = Sequence[str] | Mapping[str, Sequence[str]]


def load(
    path: Path | None,
    device: str = "cpu",
    name: str | None = None,
    *,
    tokenizer: str | Path | TokenIds | None = None,
    classes: Classes | None = None,
) -> Vision:
    """Open kinema's own weights, or with `name` the released file of that name.

    Args:
        name: of `weights.CHECKPOINTS`; a file with a decoder gives its encoder's features. Or of `clip.ADDRESSES`:
            embeddings then lie in the space that pictures share with texts.
        tokenizer: of a model with a text tower: XLM-R's SentencePiece model, offered at `clip.TOKENIZER`.
        classes: of a model with a text tower: names, in any language that XLM-R reads, or names with prompts of
            one's own; pictures are then classified by them.

    Raises:
        UserError: the file is missing (says where it is offered), damaged, or of another network.
    """
    if name in clip.ADDRESSES:
        return _with_text(path, device, name, tokenizer, classes)
    if tokenizer is not None or classes is not None:
        raise UserError(
            f"only MAWS's models with a text tower take classes in words ({', '.join(clip.ADDRESSES)}): leave out "
            "tokenizer and classes"
        )
    if name is not None:
        known = weights.checkpoint(name)
        file = released_file(path, "MAWS", known.licence, known.address)
        return Vision(
            _networks(weights.load(file, name), known.preprocessing, known.config),
            name=f"maws/{name}",
            config=known.config,
            preprocessing=known.preprocessing,
            device=device,
            weights_hash=weights_hash(file),
        )
    if path is None:
        raise UserError("MAWS needs weights: give a file with --weights FILE")
    state, about = read_vision(path, "maws")
    network, config = _built(path, about.network, about.config)
    fill(network, state, path)
    preprocessing = Preprocessing.from_dict(about.preprocessing)
    return Vision(
        _networks(network, preprocessing, config),
        name="maws-nano",
        labels=about.labels,
        config=config,
        preprocessing=preprocessing,
        device=device,
        weights_hash=weights_hash(path),
    )


def open_trunk(path: Path) -> VisionTransformer:
    """The trained encoder in a file of this room, to be trained on.

    Raises UserError for a file of another room, or without a network that MAWS has.
    """
    state, about = read_vision(path, "maws")
    network, _ = _built(path, about.network, about.config)
    fill(network, state, path)
    return network.encoder if isinstance(network, MaskedAutoencoder) else network


def _built(
    path: Path, network: str, config: Mapping[str, object]
) -> tuple[VisionTransformer | MaskedAutoencoder, MawsConfig]:
    """On the meta device."""
    if network not in ("vit", "autoencoder"):
        raise UserError(f"'{path.name}' holds the network '{network}', which MAWS does not have")
    settings = MawsConfig.from_dict(config)
    with torch.device("meta"):
        return (encoder(settings) if network == "vit" else autoencoder(settings)), settings


def _networks(
    network: VisionTransformer | MaskedAutoencoder, preprocessing: Preprocessing, config: MawsConfig
) -> Networks:
    if isinstance(network, VisionTransformer):
        return image_networks(network, preprocessing, classes=bool(config.num_classes))
    return Networks(
        network=network,
        features=network.encoder.features,
        dense=network.encoder.dense,
        views=lambda media: preprocessing.image(media.frames[0])[None],
    )


def _with_text(
    path: Path | None,
    device: str,
    name: str,
    tokenizer: str | Path | TokenIds | None,
    classes: Classes | None,
) -> Vision:
    if classes is not None and not classes:
        raise UserError("there are no classes to choose from: name at least one")
    if classes is not None and tokenizer is None:
        raise UserError(
            f"classes in words need XLM-R's tokeniser: download {clip.TOKENIZER} and name it with tokenizer=FILE"
        )
    file = released_file(path, "MAWS", weights.LICENCE, clip.ADDRESSES[name])
    model = clip.load(file, name, tokenizer)
    logits = None
    if classes is not None:
        texts = (
            classes if isinstance(classes, Mapping) else {c: [p.format(c) for p in PROMPTS] for c in classes}
        )
        directions = model.class_embeds(list(texts.values())).to(device)
        logits = lambda batch, kind: model.logit_scale.exp() * model.image_embeds(batch) @ directions.T  # noqa: E731
    return Vision(
        Networks(
            network=model,
            features=model.image_embeds,
            dense=model.vision.dense,
            views=lambda media: clip.PREPROCESSING.image(media.frames[0])[None],
            logits=logits,
        ),
        name=f"maws/{name}",
        labels={"image": tuple(classes)} if classes else None,
        config=clip.ClipConfig.preset(name),
        preprocessing=clip.PREPROCESSING,
        device=device,
        weights_hash=weights_hash(file),
    )
