"""The released encoders and classifiers of MAWS and of MAE, with the preprocessing that each was evaluated with.

Files are flat tables in timm's layout (MAE's lie under an entry `model`). Their owner offers them under CC-BY-NC 4.0 at
the addresses below; kinema's own code is under another licence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from kinema.codecs.keymap import Rule, rename
from kinema.codecs.vit_keys import END, HEAD, TIMM_BLOCK, block_rules, flat, timm_rules, vector
from kinema.data.preprocessing import Preprocessing
from kinema.nn import MaskedAutoencoder, VisionTransformer
from kinema.settings import named_preset
from kinema.systems.maws.model import MawsConfig, autoencoder, encoder
from kinema.weights import load_strict, read_released

LICENCE: Final = "CC-BY-NC 4.0"
_MAWS, _MAE = "https://dl.fbaipublicfiles.com/maws/", "https://dl.fbaipublicfiles.com/mae/"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A released file: where its owner offers it, the network in it, and what pictures must go through before.

    decoder: whether the file holds the masked stage's decoder as well.
    """

    address: str
    config: MawsConfig
    preprocessing: Preprocessing
    decoder: bool = False
    licence: str = LICENCE


def _checkpoints() -> dict[str, Checkpoint]:
    sizes = ("vit_b16", "vit_l16", "vit_h14", "vit_2b14", "vit_6.5b14")
    stages = [("mae", size) for size in sizes] + [("maws", size) for size in sizes]
    stages += [("mae_in1k", "vit_2b14"), ("mae_in21k", "vit_l16")]
    table = {
        f"{size}_{stage}": Checkpoint(
            address=f"{_MAWS}pretrain/{stage}/{size}.pt",
            config=MawsConfig.preset(size),
            preprocessing=Preprocessing(size=224),
        )
        for stage, size in stages
    }
    for size in sizes:  # the published accuracies belong to the whole picture, stretched into a square
        config = MawsConfig.preset(size)
        side = config.finetune_size
        table[f"{size}_ft_in1k_maws"] = Checkpoint(
            address=f"{_MAWS}finetune/in1k/maws/{size}_{side}.pt",
            config=config.at(side, num_classes=1000),
            preprocessing=Preprocessing(size=side, fit="stretch"),
        )
    for size, name in (("vit_b16", "base"), ("vit_l16", "large"), ("vit_h14", "huge")):
        for decoder, folder, stem in (
            (False, "pretrain", "mae_pretrain"),
            (True, "visualize", "mae_visualize"),
        ):
            table[f"{stem}_vit_{name}"] = Checkpoint(
                address=f"{_MAE}{folder}/{stem}_vit_{name}.pth",
                config=MawsConfig.preset(size),
                preprocessing=Preprocessing(size=224, resize=256),
                decoder=decoder,
            )
    return table


CHECKPOINTS: Final = _checkpoints()


def checkpoint(name: str) -> Checkpoint:
    """By name, such as `vit_b16_maws` or `vit_h14_ft_in1k_maws`; UserError with the closest three for another."""
    return named_preset(CHECKPOINTS, name, "MAWS's released weights")


def autoencoder_rules() -> list[Rule]:
    """MAE's own names for encoder and decoder."""
    return [
        *timm_rules(ours="encoder."),
        *block_rules(r"decoder_blocks\.", TIMM_BLOCK, "decoder.blocks"),
        Rule(rf"decoder_embed\.{END}", r"decoder.project.\1"),
        Rule(r"mask_token", "decoder.mask_token", change=vector),
        Rule(r"decoder_pos_embed", "decoder.positions.table", change=flat),
        Rule(rf"decoder_norm\.{END}", r"decoder.norm.\1"),
        Rule(rf"decoder_pred\.{END}", r"decoder.pixels.\1"),
    ]


def convert(state: Mapping[str, Tensor], decoder: bool, source: str | Path) -> dict[str, Tensor]:
    """A released state under our names. Raises UserError for a name that no released file has."""
    return rename(state, autoencoder_rules() if decoder else [*timm_rules(), HEAD], source).state


def load(path: str | Path, name: str) -> VisionTransformer | MaskedAutoencoder:
    """The network of a released file that lies at `path`, in eval mode and in the precision of the file.

    A file with a decoder becomes a `MaskedAutoencoder`, every other a `VisionTransformer`.

    Raises:
        UserError: `name` is no released file, or the one at `path` is missing (says where it is offered), damaged,
            or another one.
    """
    known = checkpoint(name)
    state, _ = read_released(path, "MAWS", known.licence, known.address)
    with torch.device("meta"):
        network = autoencoder(known.config) if known.decoder else encoder(known.config)
    load_strict(network, convert(state, known.decoder, path), path)
    return network.eval()
