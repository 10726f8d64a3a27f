"""Published image autoencoders: Stable Diffusion 1, 2, XL, 3 and Flux.1, in both layouts they are handed out in.

The layout of diffusers (a folder `vae` with `config.json`) has our names. That of latent diffusion and of the
single-file checkpoints (`first_stage_model.encoder.down.0.block.0...`) counts the decoder's levels from the
fine end, and has 1x1 convolutions where the attention has matrices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.codecs.config import ImageVAEConfig
from kinema.codecs.keymap import Rule, rename
from kinema.codecs.vae import ImageVAE
from kinema.errors import UserError
from kinema.weights import load_strict, read_weights

SIDE = r"(?:first_stage_model\.|vae\.)?(encoder|decoder)"
LEVEL = r"(norm1|norm2|conv1|conv2|nin_shortcut)"
END = r"(weight|bias)"

# What other networks and their training leave in a checkpoint of a whole system.
ELSEWHERE = (
    Rule(r"model\.diffusion_model\..+", reason="the diffusion model, another network"),
    Rule(r"(?:cond_stage_model|conditioner|text_encoders)\..+", reason="a text encoder, another network"),
    Rule(r"(?:first_stage_model\.|vae\.)?loss\..+", reason="losses of the training"),
    Rule(r"(?:first_stage_model\.|vae\.)?model_ema\..+", reason="running averages of the training"),
    Rule(
        r"betas|\w*alphas_cumprod\w*|posterior_\w+|scale_factor|denoiser\.sigmas|model_sampling\.\w+",
        reason="the noise schedule of the diffusion model",
    ),
)


def matrix(weight: Tensor) -> Tensor:
    """A 1x1 convolution's (out, in, 1, 1) -> (out, in); a matrix or a vector as it is."""
    return weight.flatten(1) if weight.dim() > 2 else weight


def image_rules(levels: int) -> list[Rule]:
    """From either layout, with `levels` levels, to our names."""

    def up(match: re.Match[str]) -> str:
        part = match[3].replace("nin_shortcut", "conv_shortcut").replace("block", "resnets")
        part = part.replace("upsample", "upsamplers.0")
        return f"{match[1]}.up_blocks.{levels - 1 - int(match[2])}.{part}"

    def middle(match: re.Match[str]) -> str:
        part = match[3].replace("nin_shortcut", "conv_shortcut")
        return f"{match[1]}.mid_block.resnets.{int(match[2]) - 1}.{part}.{match[4]}"

    ours = r"(?:conv_in|conv_out|conv_norm_out|(?:down_blocks|up_blocks|mid_block)\.(?!attentions).+)"
    attention = r"(encoder|decoder)\.mid_block\.attentions\.0"
    return [
        # The layout of diffusers: ours; attention had other names before its version 0.17.
        Rule(rf"(?:encoder|decoder)\.{ours}(?:\.{END})?", r"\g<0>"),
        Rule(rf"{attention}\.(group_norm|to_q|to_k|to_v|to_out\.0)\.{END}", r"\g<0>", change=matrix),
        Rule(rf"{attention}\.query\.{END}", r"\1.mid_block.attentions.0.to_q.\2", change=matrix),
        Rule(rf"{attention}\.key\.{END}", r"\1.mid_block.attentions.0.to_k.\2", change=matrix),
        Rule(rf"{attention}\.value\.{END}", r"\1.mid_block.attentions.0.to_v.\2", change=matrix),
        Rule(rf"{attention}\.proj_attn\.{END}", r"\1.mid_block.attentions.0.to_out.0.\2", change=matrix),
        # The layout of latent diffusion.
        Rule(rf"{SIDE}\.(conv_in|conv_out)\.{END}", r"\1.\2.\3"),
        Rule(rf"{SIDE}\.norm_out\.{END}", r"\1.conv_norm_out.\2"),
        Rule(
            rf"{SIDE}\.down\.(\d+)\.block\.(\d+)\.nin_shortcut\.{END}",
            r"\1.down_blocks.\2.resnets.\3.conv_shortcut.\4",
        ),
        Rule(rf"{SIDE}\.down\.(\d+)\.block\.(\d+)\.{LEVEL}\.{END}", r"\1.down_blocks.\2.resnets.\3.\4.\5"),
        Rule(rf"{SIDE}\.down\.(\d+)\.downsample\.conv\.{END}", r"\1.down_blocks.\2.downsamplers.0.conv.\3"),
        Rule(rf"{SIDE}\.up\.(\d+)\.((?:block\.\d+\.{LEVEL}|upsample\.conv)\.(?:weight|bias))", up),
        Rule(rf"{SIDE}\.mid\.block_([12])\.{LEVEL}\.{END}", middle),
        Rule(rf"{SIDE}\.mid\.attn_1\.norm\.{END}", r"\1.mid_block.attentions.0.group_norm.\2"),
        Rule(rf"{SIDE}\.mid\.attn_1\.([qkv])\.{END}", r"\1.mid_block.attentions.0.to_\2.\3", change=matrix),
        Rule(
            rf"{SIDE}\.mid\.attn_1\.proj_out\.{END}", r"\1.mid_block.attentions.0.to_out.0.\2", change=matrix
        ),
        Rule(rf"(?:first_stage_model\.|vae\.)?(quant_conv|post_quant_conv)\.{END}", r"\1.\2"),
        *ELSEWHERE,
    ]


def load_diffusers(
    vae: ImageVAE, state: Mapping[str, Tensor], source: str | Path = "state"
) -> dict[str, str]:
    """Load the weights of a published image autoencoder, such as that of Stable Diffusion 3.

    The names may be those of diffusers' AutoencoderKL or those of latent diffusion. Scale and shift of the
    latent, which neither keeps beside the weights, come from `vae.config`. Strict: every tensor is used or
    dropped for a reason, none is missing. Returns what was dropped: name -> reason.
    """
    config = vae.config
    renamed = rename(state, image_rules(config.levels), source)
    channels = config.latent_channels
    statistics = {
        "spec.mean": torch.full((channels,), config.latent_shift),
        "spec.std": torch.full((channels,), 1.0 / config.latent_scale),
    }
    load_strict(vae, {**renamed.state, **statistics}, source)
    return renamed.dropped


def read_image_vae(path: str | Path, config: ImageVAEConfig | str = "sd3") -> ImageVAE:
    """Read a downloaded autoencoder from a safetensors (or PyTorch) file; parameters are float32.

    `config` is a preset's name ("sd1", "sdxl", "sd3", "flux1") or what `image_config` made of the
    `config.json` beside the file. Raises UserError where the file does not fit.
    """
    state, _ = read_weights(path)
    with torch.device("meta"):
        vae = ImageVAE(ImageVAEConfig.preset(config) if isinstance(config, str) else config)
    load_diffusers(vae, {name: value.float() for name, value in state.items()}, path)
    return vae


_FIXED: dict[str, Any] = {  # what the network cannot vary: setting -> the value that it has
    "in_channels": 3,
    "out_channels": 3,
    "act_fn": "silu",
    "latents_mean": None,
    "latents_std": None,
}


def image_config(values: Mapping[str, Any]) -> ImageVAEConfig:
    """Our settings from those of diffusers' AutoencoderKL, as `vae/config.json` of a download has them.

    Raises UserError where they ask for a network that this is not.
    """
    for name, expected in _FIXED.items():
        if values.get(name, expected) != expected:
            raise UserError(
                f"the autoencoder's settings have {name}={values[name]!r} and kinema's has {expected!r}:"
                " this file belongs to another kind of autoencoder"
            )
    kinds = {*values.get("down_block_types", ()), *values.get("up_block_types", ())}
    if other := kinds - {"DownEncoderBlock2D", "UpDecoderBlock2D"}:
        raise UserError(
            f"the autoencoder's settings have levels of kind {', '.join(sorted(other))} and kinema's are plain:"
            " this file belongs to another kind of autoencoder"
        )
    widths, quant = list(values.get("block_out_channels", [64])), values.get("use_quant_conv", True)
    if any(width % widths[0] for width in widths) or quant != values.get("use_post_quant_conv", True):
        raise UserError(
            f"the autoencoder's settings have block_out_channels={widths} and quantisation convolutions"
            f" {quant} and {values.get('use_post_quant_conv', True)}: widths must be multiples of the first,"
            " and both convolutions there or neither"
        )
    blocks = int(values.get("layers_per_block", 1))
    return ImageVAEConfig(
        latent_channels=int(values.get("latent_channels", 4)),
        base_channels=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        encoder_blocks=(blocks,) * len(widths),
        decoder_blocks=(blocks + 1,) * len(widths),
        norm_groups=int(values.get("norm_num_groups", 32)),
        attention=bool(values.get("mid_block_add_attention", True)),
        quant_conv=bool(quant),
        latent_scale=float(values.get("scaling_factor", 0.18215)),
        latent_shift=float(values.get("shift_factor") or 0.0),
    )
