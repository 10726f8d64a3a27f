"""Codecs as files: safetensors with the settings in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kinema.codecs.config import ImageVAEConfig, TAEConfig
from kinema.codecs.dac_config import DacVAEConfig
from kinema.codecs.dac_vae import DacVAE
from kinema.codecs.tae import TemporalAutoencoder
from kinema.codecs.vae import ImageVAE
from kinema.codecs.wan_vae import WanVAE, WanVAEConfig
from kinema.errors import UserError
from kinema.weights import load_strict, read_weights

METADATA_KEY = "kinema.codec"

AnyCodec = ImageVAE | TemporalAutoencoder | WanVAE | DacVAE
AnyConfig = ImageVAEConfig | TAEConfig | WanVAEConfig | DacVAEConfig
KINDS: dict[str, tuple[type[AnyCodec], type[AnyConfig]]] = {
    "image": (ImageVAE, ImageVAEConfig),
    "temporal": (TemporalAutoencoder, TAEConfig),
    "wan": (WanVAE, WanVAEConfig),
    "dac": (DacVAE, DacVAEConfig),
}


def to_settings(codec: AnyCodec) -> dict[str, Any]:
    """What `from_settings` needs to build the same codec: plain types, ready for JSON."""
    kind = next(name for name, (network, _) in KINDS.items() if isinstance(codec, network))
    return {"kind": kind, "config": codec.config.to_dict()}


def from_settings(settings: Mapping[str, Any]) -> AnyCodec:
    """Build a codec, with fresh parameters, from what `to_settings` gave."""
    if settings["kind"] not in KINDS:
        raise UserError(
            f"these settings are of a codec of kind {settings['kind']!r} and kinema has {', '.join(KINDS)}:"
            " a newer kinema may have written them"
        )
    network, config = KINDS[settings["kind"]]
    return network(config.from_dict(settings["config"]))  # type: ignore[arg-type]  # a pair belongs together


def save_codec(codec: AnyCodec, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a codec, its statistics and its settings to a safetensors file; `dtype` is that of the file."""
    from safetensors.torch import save_file

    state = {name: value.detach().to(dtype).contiguous() for name, value in codec.state_dict().items()}
    save_file(state, str(path), metadata={METADATA_KEY: json.dumps(to_settings(codec))})


def load_codec(path: str | Path) -> AnyCodec:
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
