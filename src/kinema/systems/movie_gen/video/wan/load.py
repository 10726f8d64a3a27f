"""A folder as it was downloaded -> a pipeline: transformer, text encoder and codec, in either published layout."""

from __future__ import annotations

from pathlib import Path

import torch

from kinema.codecs.wan_vae import WanVAEConfig
from kinema.codecs.wan_weights import read_wan_vae
from kinema.errors import UserError
from kinema.systems.movie_gen.video.wan.config import WanConfig
from kinema.systems.movie_gen.video.wan.files import Offload, load_transformer
from kinema.systems.movie_gen.video.wan.pipeline import PromptEncoder, WanVideo
from kinema.text.t5 import T5Config, load_t5
from kinema.train.precision import Precision, PrecisionName, has_bfloat16

# Where Wan and diffusers put a part, in this order.
TEXT = ("models_t5_umt5-xxl-enc-bf16.pth", "models_t5_umt5-xxl-enc-bf16.safetensors", "text_encoder")
TOKENIZER = ("google/umt5-xxl", "tokenizer")
CODEC = ("Wan2.1_VAE.pth", "Wan2.1_VAE.safetensors", "vae/diffusion_pytorch_model.safetensors")


def load(
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    offload: Offload = "none",
    precision: PrecisionName = "auto",
    text: PromptEncoder | None = None,
    text_device: str | torch.device = "cpu",
    text_dtype: torch.dtype | None = None,
    config: WanConfig | None = None,
    text_config: str | T5Config = "umt5-xxl",
    codec_config: WanVAEConfig | None = None,
) -> WanVideo:
    """Read everything that turns words into clips.

    Args:
        folder: Wan2.1-T2V-1.3B or -14B as published, by Wan or for diffusers.
        dtype: in which the transformer's matrices are held, by default that of the precision; see `load_transformer`,
            also for `offload`.
        precision: of the transformer's products; `auto` is bfloat16 where the device has units for it.
        text: another source of text states, such as states that were computed elsewhere; the folder's own encoder,
            of 5.7 billion parameters, is then not read.
        text_device, text_dtype: of the text encoder; without a dtype, bfloat16 where the device is fast in it.
        config, text_config, codec_config: settings of other sizes than the published ones.

    Raises:
        UserError: a part is missing, damaged or of another model.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"'{path}' is not a folder: give the one that Wan2.1-T2V was downloaded into")
    codec_path = _first(path, CODEC, "codec")
    if text is None:  # before anything large is read, all parts must be there
        text_path, tokenizer = _first(path, TEXT, "text encoder"), _first(path, TOKENIZER, "tokeniser")
    held = dtype or Precision.choose(precision, device).compute
    transformer = load_transformer(path, config=config, device=device, dtype=held, offload=offload)
    codec = read_wan_vae(codec_path, codec_config).to(device).eval().requires_grad_(False)
    if text is None:
        fast = torch.bfloat16 if has_bfloat16(torch.device(text_device)) else torch.float32
        text = load_t5(text_config, text_path, tokenizer, dtype=text_dtype or fast, device=text_device)
    return WanVideo(transformer, text, codec, precision)


def open_folder(path: Path, device: str = "cpu", offload: Offload = "none") -> WanVideo:
    """`load` as the table of models calls it."""
    return load(path, device=device, offload=offload)


def _first(folder: Path, places: tuple[str, ...], part: str) -> Path:
    for place in places:
        if (folder / place).exists():
            return folder / place
    raise UserError(f"'{folder}' has no {part}: none of {', '.join(places)} is there; download it whole")
