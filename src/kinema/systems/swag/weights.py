"""The released trunks and classifiers of SWAG, in its own layout, torchvision's and timm's, with their preprocessing.

The weights are Meta's and may not be used commercially (CC BY-NC 4.0); none of them come with kinema. The classifier of
hashtags was not released.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from kinema.codecs.keymap import Rule, rename
from kinema.codecs.vit_keys import torchvision_rules
from kinema.data.preprocessing import Preprocessing
from kinema.settings import named_preset
from kinema.systems.swag.model import Config, Network, RegNetConfig, at, build, preset
from kinema.weights import load_strict, read_released

LICENCE: Final = "CC BY-NC 4.0"
OWN: Final = "https://dl.fbaipublicfiles.com/SWAG/"
TORCHVISION: Final = "https://download.pytorch.org/models/"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A released file: where it is offered, the network in it, and what pictures must go through before."""

    address: str
    config: Config
    preprocessing: Preprocessing
    licence: str = LICENCE


# preset -> side that the classifiers were finetuned at, torchvision's file of that, and of the frozen trunk at 224
_SIZES: Final = {
    "regnety_16gf": (384, "regnet_y_16gf_swag-43afe44d", "regnet_y_16gf_lc_swag-f3ec0043"),
    "regnety_32gf": (384, "regnet_y_32gf_swag-04fdfa75", "regnet_y_32gf_lc_swag-e1583746"),
    "regnety_128gf": (384, "regnet_y_128gf_swag-c8ce3e52", "regnet_y_128gf_lc_swag-cbe8ce12"),
    "vit_b16": (384, "vit_b_16_swag-9ac1b537", "vit_b_16_lc_swag-4e70ced5"),
    "vit_l16": (512, "vit_l_16_swag-4f3808c9", "vit_l_16_lc_swag-4d563306"),
    "vit_h14": (518, "vit_h_14_swag-80465313", "vit_h_14_lc_swag-c1eb923e"),
}


def _checkpoints() -> dict[str, Checkpoint]:
    table = {}
    for name, (side, finetuned, frozen) in _SIZES.items():
        sizes = {"": 224, "_in1k": side, "_in1k_tv": side, "_lc_in1k_tv": 224}
        files = {
            "": f"{OWN}{name}.torch",
            "_in1k": f"{OWN}{name}_in1k.torch",
            "_in1k_tv": f"{TORCHVISION}{finetuned}.pth",
            "_lc_in1k_tv": f"{TORCHVISION}{frozen}.pth",
        }
        for suffix, address in files.items():
            table[name + suffix] = Checkpoint(
                address=address,
                config=at(preset(name), 1000 if suffix else 0, sizes[suffix]),
                preprocessing=Preprocessing(
                    size=sizes[suffix]
                ),  # bicubic, and nothing is cropped off a square
            )
    return table


CHECKPOINTS: Final = _checkpoints()


def checkpoint(name: str) -> Checkpoint:
    """By name: a trunk is `vit_b16`, SWAG's classifier `vit_b16_in1k`, torchvision's `_in1k_tv` and `_lc_in1k_tv`."""
    return named_preset(CHECKPOINTS, name, "SWAG's released weights")


_CONV: Final = r"(weight)"
_NORM: Final = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_BOTH: Final = r"(weight|bias)"


def _regnet(block: str, parts: Mapping[str, str], stem: tuple[str, str], head: str) -> tuple[Rule, ...]:
    """Rules of one layout: `block` ends before a block's parts, whose names are those of `parts`."""
    rules = [
        Rule(rf"{stem[0]}\.{_CONV}", r"trunk.stem.conv.\1"),
        Rule(rf"{stem[1]}\.{_NORM}", r"trunk.stem.norm.\1"),
        Rule(rf"{head}\.{_BOTH}", r"head.\1"),
    ]
    for theirs, ours in parts.items():
        end = _NORM if ours.endswith("norm") else _BOTH if ours.startswith("se.") else _CONV
        rules.append(Rule(rf"{block}\.{theirs}\.{end}", _Name(ours)))
    return tuple(rules)


@dataclass(frozen=True)
class _Name:
    """Our name of a block's part: published stages count from 1, and so do timm's blocks (`b1` is the first)."""

    part: str

    def __call__(self, match: re.Match[str]) -> str:
        stage, letter, block, end = match["stage"], match["letter"], match["block"], match.groups()[-1]
        return f"trunk.stages.{int(stage) - 1}.{int(block) - (letter == 'b')}.{self.part}.{end}"


_TORCH_BLOCK: Final = r"trunk_output\.block(?P<stage>\d)\.block\d(?P<letter>-)(?P<block>\d+)"
_COMMON: Final = {
    r"f\.a\.0": "reduce.conv",
    r"f\.a\.1": "reduce.norm",
    r"f\.b\.0": "grouped.conv",
    r"f\.b\.1": "grouped.norm",
}
RULES: Final = {
    "swag": _regnet(
        _TORCH_BLOCK,
        _COMMON
        | {
            r"f\.se\.excitation\.0": "se.reduce",
            r"f\.se\.excitation\.2": "se.expand",
            r"f\.c": "expand.conv",
            r"f\.final_bn": "expand.norm",
            r"proj": "shortcut.conv",
            r"bn": "shortcut.norm",
        },
        (r"stem\.stem\.0", r"stem\.stem\.1"),
        r"head\.fc",
    ),
    "torchvision": _regnet(
        _TORCH_BLOCK,
        _COMMON
        | {
            r"f\.se\.fc1": "se.reduce",
            r"f\.se\.fc2": "se.expand",
            r"f\.c\.0": "expand.conv",
            r"f\.c\.1": "expand.norm",
            r"proj\.0": "shortcut.conv",
            r"proj\.1": "shortcut.norm",
        },
        (r"stem\.0", r"stem\.1"),
        "fc",
    ),
    "timm": _regnet(
        r"s(?P<stage>\d)\.(?P<letter>b)(?P<block>\d+)",
        {
            r"conv1\.conv": "reduce.conv",
            r"conv1\.bn": "reduce.norm",
            r"conv2\.conv": "grouped.conv",
            r"conv2\.bn": "grouped.norm",
            r"se\.fc1": "se.reduce",
            r"se\.fc2": "se.expand",
            r"conv3\.conv": "expand.conv",
            r"conv3\.bn": "expand.norm",
            r"downsample\.conv": "shortcut.conv",
            r"downsample\.bn": "shortcut.norm",
        },
        (r"stem\.conv", r"stem\.bn"),
        r"head\.fc",
    ),
}


def convert(state: Mapping[str, Tensor], config: Config, source: str | Path) -> dict[str, Tensor]:
    """A released state under our names, whichever of the layouts it has. Raises UserError for any other."""
    if not isinstance(config, RegNetConfig):
        return rename(state, torchvision_rules(), source).state
    layout = (
        "swag" if "stem.stem.0.weight" in state else "timm" if "stem.conv.weight" in state else "torchvision"
    )
    return rename(state, RULES[layout], source).state


def load(path: str | Path, name: str) -> Network:
    """The network of a released file that lies at `path`, in eval mode.

    What has to happen to pixels before it is `checkpoint(name).preprocessing`.

    Raises:
        UserError: `name` is no released file, or the one at `path` is missing (says where it is offered), damaged, or
            another one.
    """
    known = checkpoint(name)
    state, _ = read_released(path, "SWAG", known.licence, known.address)
    with torch.device("meta"):
        network = build(known.config)
    load_strict(network, convert(state, known.config, path), path)
    return network.eval()
