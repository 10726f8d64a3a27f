"""The published weights of Meta's DAC-VAE, `facebook/dacvae-watermarked`: their names, and ours.

Read in facebookresearch/dacvae (commit 414c207): the names and shapes of every tensor, which
`tests/codecs/make_dac.py` records, and how the layers are joined. Read in facebookresearch/sam-audio: the sizes.
Not seen: the file itself. The decoder's last layers lie among those of the watermark there, and each of its stages
interleaves layers of the sound (0, 1, 4, 5, 8) with layers of the watermark (3, 6 on its way up, 7, 11 down).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from kinema.codecs.dac_config import DacVAEConfig
from kinema.codecs.dac_vae import DacVAE
from kinema.codecs.keymap import Rule, rename
from kinema.errors import UserError
from kinema.weights import load_strict, read_weights

SOUND_LAYERS = {"0": 0, "1": 1, "4": 2, "5": 3, "8": 4}  # of a decoder's stage: theirs -> ours
NORMED = {  # the names that newer versions of PyTorch give the same tensors
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}
END = r"(weight|weight_g|weight_v|bias)"
UNIT = rf"block\.([13])\.{END}"
WATERMARK = r"decoder\.wm_model"


def dacvae_rules(config: DacVAEConfig) -> list[Rule]:
    """From the published names to ours."""
    stages = len(config.rates)

    def sound(match: re.Match[str]) -> str:
        return f"decoder.model.{match[1]}.block.{SOUND_LAYERS[match[2]]}.{match[3]}"

    def to(name: str, turn: bool) -> Callable[[re.Match[str]], str]:
        def build(match: re.Match[str]) -> str:
            stage = stages - int(match[1]) if turn else int(match[1]) - 1
            return name.format(stage, *match.groups()[1:])

        return build

    stage = r"decoder\.model\.([1-9])\.block"
    rules = [
        Rule(r"encoder\.block\..+", r"\g<0>"),
        Rule(rf"quantizer\.(in_proj|out_proj)\.{END}", r"\1.\2"),
        Rule(rf"decoder\.model\.0\.{END}", r"\g<0>"),
        Rule(rf"{stage}\.([01458])\.(.+)", sound),
        Rule(rf"{WATERMARK}\.encoder_block\.pre\.0\.alpha", f"decoder.model.{stages + 1}.alpha"),
        Rule(rf"{WATERMARK}\.encoder_block\.pre\.1\.{END}", rf"decoder.model.{stages + 2}.\1"),
    ]
    if config.watermark is None:
        why = "the watermark's layers, which these settings leave out"
        return [
            *rules,
            Rule(rf"{stage}\.(?:3|6|7|11)\..+", reason=why),
            Rule(rf"{WATERMARK}\..+", reason=why),
        ]
    return [
        *rules,
        Rule(rf"{stage}\.7\.{UNIT}", to("watermark.down.{0}.0.block.{1}.{2}", turn=True)),
        Rule(rf"{stage}\.11\.{END}", to("watermark.down.{0}.2.{1}", turn=True)),
        Rule(rf"{stage}\.3\.{END}", to("watermark.up.{0}.1.{1}", turn=False)),
        Rule(rf"{stage}\.6\.{UNIT}", to("watermark.up.{0}.2.block.{1}.{2}", turn=False)),
        Rule(rf"{WATERMARK}\.encoder_block\.pre\.3\.{END}", r"watermark.stem.\1"),
        Rule(rf"{WATERMARK}\.encoder_block\.post\.0\.(lstm\..+)", r"watermark.down_recurrent.\1"),
        Rule(rf"{WATERMARK}\.encoder_block\.post\.2\.{END}", r"watermark.to_code.\1"),
        Rule(rf"{WATERMARK}\.msg_processor\.msg_processor\.weight", "watermark.message.weight"),
        Rule(rf"{WATERMARK}\.decoder_block\.pre\.0\.{END}", r"watermark.from_code.\1"),
        Rule(rf"{WATERMARK}\.decoder_block\.pre\.1\.(lstm\..+)", r"watermark.up_recurrent.\1"),
        Rule(rf"{WATERMARK}\.decoder_block\.post\.1\.{END}", r"watermark.head.\1"),
    ]


def load_dacvae(codec: DacVAE, state: Mapping[str, Tensor], source: str | Path = "state") -> dict[str, str]:
    """Load the published weights; the latent keeps mean 0 and deviation 1, as they have it.

    Strict: every tensor is used, or dropped because the settings have no watermark, and none is missing. Returns what
    was dropped: name -> reason.
    """
    config = codec.config
    if not config.weight_norm:
        raise UserError(
            "published weights are norms and directions: load them into a codec with weight_norm=True,"
            " and call folded() on it"
        )
    plain = {}
    for name, value in state.items():
        for theirs, ours in NORMED.items():
            name = name.replace(theirs, ours)
        plain[name] = value
    renamed = rename(plain, dacvae_rules(config), source)
    channels = config.latent_channels
    statistics = {"spec.mean": torch.zeros(channels), "spec.std": torch.ones(channels)}
    load_strict(codec, {**renamed.state, **statistics}, source)
    return renamed.dropped


def read_dacvae(path: str | Path, config: DacVAEConfig | str = "full") -> DacVAE:
    """Read a downloaded `weights.pth` for inference; parameters are float32 and folded.

    `config` is "full" for clean sound or "full_watermarked". Raises UserError where the file does not fit.
    """
    state, _ = read_weights(path)
    with torch.device("meta"):
        codec = DacVAE(DacVAEConfig.preset(config) if isinstance(config, str) else config)
    load_dacvae(codec, {name: value.float() for name, value in state.items()}, path)
    return codec.folded()
