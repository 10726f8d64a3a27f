"""Codecs as files: safetensors with the settings in its metadata, and the published image autoencoders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.codecs.config import ImageVAEConfig, TAEConfig
from kinema.codecs.tae import TemporalAutoencoder
from kinema.codecs.vae import ImageVAE
from kinema.errors import UserError
from kinema.weights import load_strict, read_weights

METADATA_KEY = "kinema.codec"


def to_settings(codec: ImageVAE | TemporalAutoencoder) -> dict[str, Any]:
    """What `from_settings` needs to build the same codec: plain types, ready for JSON."""
    kind = "temporal" if isinstance(codec, TemporalAutoencoder) else "image"
    return {"kind": kind, "config": codec.config.to_dict()}


def from_settings(settings: Mapping[str, Any]) -> ImageVAE | TemporalAutoencoder:
    """Build a codec, with fresh parameters, from what `to_settings` gave."""
    if settings["kind"] == "temporal":
        return TemporalAutoencoder(TAEConfig.from_dict(settings["config"]))
    return ImageVAE(ImageVAEConfig.from_dict(settings["config"]))


def save_codec(
    codec: ImageVAE | TemporalAutoencoder, path: str | Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write a codec, its statistics and its settings to a safetensors file; `dtype` is that of the file."""
    from safetensors.torch import save_file

    state = {name: value.detach().to(dtype).contiguous() for name, value in codec.state_dict().items()}
    save_file(state, str(path), metadata={METADATA_KEY: json.dumps(to_settings(codec))})


def load_codec(path: str | Path) -> ImageVAE | TemporalAutoencoder:
    """Read what `save_codec` wrote; parameters are float32.

    Raises UserError for a file that is missing, damaged or no codec of kinema.
    """
    state, metadata = read_weights(path)
    if METADATA_KEY not in metadata:
        raise UserError(
            f"'{path}' does not say which codec it holds: load a file that kinema saved, or build the codec"
            " and use load_diffusers for a published autoencoder"
        )
    codec = from_settings(json.loads(metadata[METADATA_KEY]))
    load_strict(codec, {name: value.float() for name, value in state.items()}, path)
    return codec


def load_diffusers(vae: ImageVAE, state: Mapping[str, Tensor], source: str | Path = "state") -> None:
    """Load the weights of diffusers' AutoencoderKL, such as those of Stable Diffusion 3.

    The key names are ours already; scale and shift of the latent, which diffusers keeps in its settings, come
    from `vae.config`. Strict: every key is used, and none is left.
    """
    config = vae.config
    channels = config.latent_channels
    statistics = {
        "spec.mean": torch.full((channels,), config.latent_shift),
        "spec.std": torch.full((channels,), 1.0 / config.latent_scale),
    }
    load_strict(vae, {**state, **statistics}, source)
