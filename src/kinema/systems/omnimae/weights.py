"""The released files of OmniMAE: three sizes, each pre-trained and finetuned on ImageNet and on Something-Something v2.

Their owner offers them under CC-BY-NC 4.0 at the addresses below; kinema's own code is under another licence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from kinema.codecs.keymap import Rule, rename
from kinema.codecs.vit_keys import END, TIMM_BLOCK, block_rules, flat, timm_rules, vector
from kinema.data.preprocessing import Preprocessing
from kinema.nn import MaskedAutoencoder, VisionTransformer
from kinema.settings import named_preset
from kinema.systems.omnimae.model import OmniMAEConfig, autoencoder, classifier
from kinema.weights import load_strict, read_released

LICENCE: Final = "CC-BY-NC 4.0"
_ADDRESS: Final = "https://dl.fbaipublicfiles.com/omnivore/omnimae_ckpts/"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A released file: where its owner offers it, the network in it, and what pictures must go through before.

    num_classes: 0 for a pre-trained file, which holds the decoder as well.
    clips, views: how many clips of 16 frames over 2.7 seconds and crops of each the published figure averages.
    """

    address: str
    config: OmniMAEConfig
    num_classes: int
    preprocessing: Preprocessing
    clips: int = 1
    views: int = 1
    licence: str = LICENCE


CHECKPOINTS: Final = {
    f"{size}_{kind}": Checkpoint(
        address=f"{_ADDRESS}{size.replace('_', '')}_{kind}.torch",
        config=OmniMAEConfig.preset(size),
        num_classes=classes,
        preprocessing=Preprocessing(size=224),
        clips=clips,
        views=views,
    )
    for size in ("vit_b", "vit_l", "vit_h")
    for kind, classes, clips, views in (
        ("pretrain", 0, 1, 1),
        ("in1k_ft", 1000, 1, 1),
        ("ssv2_ft", 174, 5, 3),
    )
}


def checkpoint(name: str) -> Checkpoint:
    """By name, such as `vit_b_pretrain` or `vit_h_ssv2_ft`; UserError with the closest three for another."""
    return named_preset(CHECKPOINTS, name, "OmniMAE's released weights")


def rules(pretrained: bool) -> list[Rule]:
    """The released names, and those of files that its trainer writes (`heads.0...`)."""
    side, head = ("encoder.", "decoder.pixels") if pretrained else ("", "head")
    return [
        Rule(rf"trunk\.patch_embed\.proj\.1\.{END}", rf"{side}stem.proj.\1"),
        *timm_rules("trunk.", side),
        Rule(r"trunk\.mask_token", "decoder.mask_token", change=vector),
        Rule(r"trunk\.decoder\.pos_embed", "decoder.positions.table", change=flat),
        Rule(rf"trunk\.decoder\.decoder_embed\.{END}", r"decoder.project.\1"),
        *block_rules(r"trunk\.decoder\.decoder_blocks\.", TIMM_BLOCK, "decoder.blocks"),
        Rule(rf"trunk\.decoder\.norm\.{END}", r"decoder.norm.\1"),
        Rule(rf"(?:head|heads\.0|heads\.0\.projector)\.{END}", rf"{head}.\1"),
    ]


def convert(state: Mapping[str, Tensor], pretrained: bool, source: str | Path) -> dict[str, Tensor]:
    """A released state under our names. Raises UserError for a name that no released file has."""
    return rename(state, rules(pretrained), source).state


def load(path: str | Path, name: str) -> VisionTransformer | MaskedAutoencoder:
    """The network of a released file that lies at `path`, in eval mode.

    A pre-trained file becomes a `MaskedAutoencoder`, whose `encoder` gives features; the others classify.

    Raises:
        UserError: `name` is no released file, or the one at `path` is missing (says where it is offered), damaged,
            or another one.
    """
    known = checkpoint(name)
    state, _ = read_released(path, "OmniMAE", known.licence, known.address)
    with torch.device("meta"):
        network = (
            classifier(known.config, known.num_classes) if known.num_classes else autoencoder(known.config)
        )
    load_strict(network, convert(state, not known.num_classes, path), path)
    return network.eval()
