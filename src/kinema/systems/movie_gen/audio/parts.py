"""The four networks that make a sound system, and the one file that holds them.

A weight file is safetensors; its metadata says how to build every part (and carries the tokeniser), so that the file
alone is the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from kinema.codecs import DacVAE, DacVAEConfig
from kinema.errors import UserError
from kinema.systems.movie_gen.audio.model import AudioTransformerConfig, MovieGenAudioTransformer
from kinema.systems.movie_gen.audio.sampling import SoundCodec
from kinema.systems.movie_gen.audio.visual import FrameEncoder, FrameNet, FrameNetConfig
from kinema.text.encoder import TextEncoder
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.tokenizer import packed, unpacked
from kinema.weights import check_schema, fill_networks, read_weights, save_networks

SCHEMA = 1
METADATA_KEY = "kinema.movie_gen_audio"


@dataclass
class AudioParts:
    """Sound codec, frame encoder, text encoder and transformer."""

    codec: SoundCodec
    frames: FrameEncoder
    text: TextEncoder
    transformer: MovieGenAudioTransformer

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Name -> network, in the order in which they are stored; parts that are no modules are not among them."""
        named = {
            "codec": self.codec,
            "frames": self.frames,
            "text": self.text,
            "transformer": self.transformer,
        }
        return {name: part for name, part in named.items() if isinstance(part, nn.Module)}

    def to(self, device: str | torch.device) -> AudioParts:
        """Move all networks."""
        for module in self.modules.values():
            module.to(device)
        return self

    def freeze(self) -> AudioParts:
        """Ready to generate: eval mode, no gradients."""
        for module in self.modules.values():
            module.eval().requires_grad_(False)
        return self


def save_parts(parts: AudioParts, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write one file; numbers are stored as `dtype`, the codec's weights as they are used.

    Raises UserError for parts that are not nano's own: a tower of others stays in its own file.
    """
    codec, frames, text = parts.codec, parts.frames, parts.text
    if not (isinstance(codec, DacVAE) and isinstance(frames, FrameNet) and isinstance(text, NanoTextEncoder)):
        raise UserError(
            "only systems with nano's codec, frame encoder and text encoder are written to one file"
        )
    plain = AudioParts(codec.folded() if codec.config.weight_norm else codec, frames, text, parts.transformer)
    settings = {
        "schema": SCHEMA,
        "codec": plain.codec.config.to_dict(),
        "frames": frames.config.to_dict(),
        "text": text.config.to_dict(),
        "tokenizer": packed(text.tokenizer.to_str()),
        "transformer": parts.transformer.config.to_dict(),
    }
    save_networks(plain.modules, path, METADATA_KEY, settings, dtype)


def load_parts(path: str | Path) -> AudioParts:
    """Read what `save_parts` wrote; parameters are float32.

    Raises:
        UserError: the file is missing, damaged, of a newer schema, or no model of this kind.
    """
    state, metadata = read_weights(path)
    name = Path(path).name
    try:
        settings: Mapping[str, Any] = json.loads(metadata[METADATA_KEY])
        check_schema(settings, SCHEMA, path)
        codec = DacVAE(DacVAEConfig.from_dict(settings["codec"]))
        frames = FrameNet(FrameNetConfig.from_dict(settings["frames"]))
        tokenizer = Tokenizer.from_str(unpacked(settings["tokenizer"]))
        text = NanoTextEncoder(NanoTextConfig.from_dict(settings["text"]), tokenizer)
        config = AudioTransformerConfig.from_dict(settings["transformer"])
        told = (config.latent_channels, config.visual_dim, config.text_dim)
        if told != (codec.spec.channels, frames.dim, text.dim):
            raise ValueError("the transformer does not fit the parts around it")
        if tokenizer.get_vocab_size() > text.config.vocabulary_size:
            raise ValueError("the tokeniser knows more tokens than the encoder embeds")
        parts = AudioParts(codec, frames, text, MovieGenAudioTransformer(config))
    except UserError:
        raise
    except Exception as error:  # whatever a foreign or damaged description makes the builders say
        raise UserError(
            f"'{name}' does not describe a Movie Gen Audio model of kinema: use a file that `kinema train` wrote"
        ) from error
    fill_networks(parts.modules, state, path)
    return parts
