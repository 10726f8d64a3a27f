"""The published weights of Wan 2.1's video autoencoder, under the names of either file that holds them.

`Wan2.1_VAE.pth` has our names. The folder `vae` of diffusers names the same layers by their part: a level of its
decoder is one block, where ours counts all layers in a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from kinema.codecs.keymap import Rule, rename
from kinema.codecs.wan_vae import WanVAE, WanVAEConfig
from kinema.weights import load_strict, read_weights

SIDE = r"(encoder|decoder)"
END = r"(weight|bias)"
PARTS = {  # of a residual block
    "norm1.gamma": "residual.0.gamma",
    "conv1": "residual.2",
    "norm2.gamma": "residual.3.gamma",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}
PART = r"(norm[12]\.gamma|(?:conv[12]|conv_shortcut)\.(?:weight|bias))"
RESAMPLE = r"((?:resample\.1|time_conv)\.(?:weight|bias))"


def _part(name: str) -> str:
    if name in PARTS:
        return PARTS[name]
    layer, end = name.rsplit(".", 1)
    return f"{PARTS[layer]}.{end}"


def wan_rules(blocks: int) -> list[Rule]:
    """From either layout, with `blocks` residual blocks a level of the encoder, to our names."""
    layers = blocks + 2  # of a level of the decoder: one residual block more, and the upsampling

    def down(match: re.Match[str]) -> str:
        return f"encoder.downsamples.{match[1]}.{_part(match[2])}"

    def up(match: re.Match[str]) -> str:
        return f"decoder.upsamples.{int(match[1]) * layers + int(match[2])}.{_part(match[3])}"

    def up_resample(match: re.Match[str]) -> str:
        return f"decoder.upsamples.{int(match[1]) * layers + layers - 1}.{match[2]}"

    def middle(match: re.Match[str]) -> str:
        return f"{match[1]}.middle.{2 * int(match[2])}.{_part(match[3])}"

    return [
        # The original file.
        Rule(r"(?:encoder\.|decoder\.)?conv[12]\.(?:weight|bias)", r"\g<0>"),
        Rule(r"(?:encoder\.(?:downsamples|middle|head)|decoder\.(?:upsamples|middle|head))\..+", r"\g<0>"),
        # diffusers.
        Rule(rf"quant_conv\.{END}", r"conv1.\1"),
        Rule(rf"post_quant_conv\.{END}", r"conv2.\1"),
        Rule(rf"{SIDE}\.conv_in\.{END}", r"\1.conv1.\2"),
        Rule(rf"{SIDE}\.norm_out\.gamma", r"\1.head.0.gamma"),
        Rule(rf"{SIDE}\.conv_out\.{END}", r"\1.head.2.\2"),
        Rule(rf"{SIDE}\.mid_block\.attentions\.0\.(norm\.gamma|(?:to_qkv|proj)\.{END})", r"\1.middle.1.\2"),
        Rule(rf"{SIDE}\.mid_block\.resnets\.([01])\.{PART}", middle),
        Rule(rf"encoder\.down_blocks\.(\d+)\.{RESAMPLE}", r"encoder.downsamples.\1.\2"),
        Rule(rf"encoder\.down_blocks\.(\d+)\.{PART}", down),
        Rule(rf"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.{RESAMPLE}", up_resample),
        Rule(rf"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.{PART}", up),
    ]


def load_wan(vae: WanVAE, state: Mapping[str, Tensor], source: str | Path = "state") -> None:
    """Load the published weights under either set of names; the latent's statistics come from `vae.config`.

    Strict: every tensor is used and none is missing.
    """
    renamed = rename(state, wan_rules(vae.config.blocks), source)
    statistics = {
        "spec.mean": torch.tensor(vae.config.latent_mean),
        "spec.std": torch.tensor(vae.config.latent_std),
    }
    load_strict(vae, {**renamed.state, **statistics}, source)


def read_wan_vae(path: str | Path, config: WanVAEConfig | None = None) -> WanVAE:
    """Read a downloaded `Wan2.1_VAE.pth` or safetensors file; parameters are float32.

    A PyTorch file is read with `weights_only=True`. Raises UserError where the file does not fit.
    """
    state, _ = read_weights(path)
    with torch.device("meta"):
        vae = WanVAE(config)
    load_wan(vae, {name: value.float() for name, value in state.items()}, path)
    return vae
