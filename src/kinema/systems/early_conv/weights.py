"""Checkpoints of other code for the same networks: pycls, in which the paper was made, and torchvision.

Neither offers trained weights of a ViT_C; these tables are for what somebody trained there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from kinema.codecs.keymap import Rule, rename
from kinema.codecs.vit_keys import END, block_rules, flat, torchvision_rules, vector
from kinema.data.preprocessing import Preprocessing
from kinema.nn import VisionTransformer
from kinema.weights import load_strict, read_weights

Layout = Literal["pycls", "torchvision"]
PREPROCESSING = Preprocessing(
    size=224, resize=256
)  # of both; pycls gives its bytes in the order blue, green, red
_BLOCK = {
    r"ln_([12])": r"norm\g<part>",
    r"self_attention\.block\.out_proj": "attention.out",
    r"mlp_block\.linear_1": "mlp.up",
    r"mlp_block\.linear_2": "mlp.down",
}


def red_first(weight: Tensor) -> Tensor:
    """A first convolution that takes blue, green, red -> one that takes red, green, blue."""
    return weight.flip(1)


def pycls_rules() -> list[Rule]:
    """Pycls's names; the first convolution is turned to take red first."""
    block = r"encoder\.block_"
    return [
        *block_rules(block, _BLOCK),
        Rule(rf"{block}(\d+)\.self_attention\.block\.in_proj_{END}", r"blocks.\1.attention.qkv.\2"),
        Rule(r"class_token", "class_token", change=vector),
        Rule(r"pos_embedding", "positions.table", change=flat),
        Rule(rf"encoder\.ln\.{END}", r"norm.\1"),
        Rule(rf"head\.head_fc\.{END}", r"head.\1"),
        Rule(r"stem\.patchify\.weight", "stem.proj.weight", change=red_first),
        Rule(r"stem\.patchify\.bias", "stem.proj.bias"),
        Rule(r"stem\.cstem0_conv\.weight", "stem.layers.0.conv.weight", change=red_first),
        Rule(r"stem\.cstem(\d+)_conv\.weight", r"stem.layers.\1.conv.weight"),
        Rule(r"stem\.cstem(\d+)_bn\.(\w+)", r"stem.layers.\1.norm.\2"),
        Rule(rf"stem\.cstem_last_conv\.{END}", r"stem.last.\1"),
    ]


def convert(state: Mapping[str, Tensor], layout: Layout, source: str | Path) -> dict[str, Tensor]:
    """A state of either code under our names. Raises UserError for a name that it does not have."""
    return rename(state, pycls_rules() if layout == "pycls" else torchvision_rules(), source).state


def load(network: VisionTransformer, path: str | Path, layout: Layout) -> None:
    """Fill a network of the same sizes (`build`) from a file of either code, strictly.

    Raises UserError where the file is missing, damaged, or of another network. Note the norms' eps: torchvision's is
    1e-6.
    """
    state, _ = read_weights(path)
    load_strict(network, convert(state, layout, path), path)
