"""The published checkpoints of Omnivore into ours, with the preprocessing that they were evaluated with.

A file holds two tables, `trunk` and `heads`, whose names are joined by a dot here. The weights are their owner's and
may not be used commercially (CC BY-NC 4.0); none of them come with kinema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from kinema.codecs.keymap import Renamed, Rule, rename
from kinema.settings import named_preset
from kinema.systems.omnivore.model import Omnivore, OmnivoreConfig
from kinema.systems.omnivore.preprocessing import RELEASED, OmnivorePreprocessing
from kinema.weights import load_strict, read_released

LICENCE: Final = "CC BY-NC 4.0"
ADDRESS: Final = "https://dl.fbaipublicfiles.com/omnivore/models/"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A released file: where its owner offers it, the network in it, and what pictures must go through before.

    trained_on: the data sets, for those who choose between files.
    """

    address: str
    config: OmnivoreConfig
    trained_on: str
    preprocessing: OmnivorePreprocessing = RELEASED
    licence: str = LICENCE


def _checkpoint(file: str, preset: str, *data: str) -> Checkpoint:
    return Checkpoint(
        address=f"{ADDRESS}{file}_checkpoint.torch",
        config=OmnivoreConfig.preset(preset),
        trained_on=", ".join(data),
    )


_JOINT: Final = ("ImageNet-1k", "Kinetics-400", "SUN RGB-D")
CHECKPOINTS: Final = {
    "swin_t": _checkpoint("swinT", "swin_t", *_JOINT),
    "swin_s": _checkpoint("swinS", "swin_s", *_JOINT),
    "swin_b": _checkpoint("swinB", "swin_b", *_JOINT),
    "swin_b_in21k": _checkpoint("swinB_In21k", "swin_b", "ImageNet-21k", *_JOINT),
    "swin_l_in21k": _checkpoint("swinL_In21k", "swin_l", "ImageNet-21k", *_JOINT),
    "swin_b_epic": _checkpoint("swinB_epic", "swin_b_epic", "EPIC-KITCHENS-100"),
}


def checkpoint(name: str) -> Checkpoint:
    """By name, such as `swin_b`; UserError with the closest three for another."""
    return named_preset(CHECKPOINTS, name, "Omnivore's released weights")


_END: Final = r"(weight|bias)"
_BLOCK: Final = r"trunk\.layers\.(\d+)\.blocks\.(\d+)\."
_OURS: Final = r"trunk.stages.\1.blocks.\2."
RULES: Final = (
    Rule(rf"trunk\.patch_embed\.(proj|norm)\.{_END}", r"rgb.\1.\2"),
    Rule(rf"trunk\.depth_patch_embed\.(proj|norm)\.{_END}", r"depth.\1.\2"),
    Rule(rf"{_BLOCK}norm1\.{_END}", rf"{_OURS}attention_norm.\3"),
    Rule(rf"{_BLOCK}norm2\.{_END}", rf"{_OURS}mlp_norm.\3"),
    Rule(rf"{_BLOCK}attn\.relative_position_bias_table", rf"{_OURS}attention.offsets"),
    Rule(rf"{_BLOCK}attn\.relative_position_index", reason="computed from the size of the window"),
    Rule(rf"{_BLOCK}attn\.qkv\.{_END}", rf"{_OURS}attention.qkv.\3"),
    Rule(rf"{_BLOCK}attn\.proj\.{_END}", rf"{_OURS}attention.out.\3"),
    Rule(rf"{_BLOCK}mlp\.fc1\.{_END}", rf"{_OURS}mlp.up.\3"),
    Rule(rf"{_BLOCK}mlp\.fc2\.{_END}", rf"{_OURS}mlp.down.\3"),
    Rule(rf"trunk\.layers\.(\d+)\.downsample\.(norm|reduction)\.{_END}", r"trunk.stages.\1.merge.\2.\3"),
    Rule(rf"trunk\.norm\.{_END}", r"trunk.norm.\1"),
    Rule(rf"heads\.(image|rgbd)\.{_END}", r"heads.\1.1.\2"),
    Rule(rf"heads\.video\.1\.{_END}", r"heads.video.1.\1"),
    Rule(rf"heads\.1\.{_END}", r"heads.video.1.\1"),  # EPIC's one head, behind its dropout
)
# What the trainer itself writes, where heads have numbers in the order of its data sets.
TRAINER_RULES: Final = (
    Rule(rf"heads\.0\.{_END}", r"heads.image.1.\1"),
    Rule(rf"heads\.1\.{_END}", r"heads.rgbd.1.\1"),
    Rule(rf"heads\.2\.1\.{_END}", r"heads.video.1.\1"),
    *RULES[:-1],
)


def convert(state: Mapping[str, Tensor], source: str | Path) -> Renamed:
    """Published names to ours. Raises UserError for a name that no layout has."""
    return rename(state, TRAINER_RULES if "heads.0.weight" in state else RULES, source)


def load(path: str | Path, name: str) -> Omnivore:
    """The network of a released file that lies at `path`, in eval mode.

    What has to happen to pixels before it is `checkpoint(name).preprocessing`.

    Raises:
        UserError: `name` is no released file, or the one at `path` is missing (says where its owner offers it),
            damaged, or another one.
    """
    known = checkpoint(name)
    state, _ = read_released(path, "Omnivore", known.licence, known.address)
    with torch.device("meta"):
        network = Omnivore(known.config)
    load_strict(network, convert(state, path).state, path)
    return network.eval()
