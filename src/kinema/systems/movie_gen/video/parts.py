"""The three networks that make a text-to-video system, and the one file that holds them.

A weight file is safetensors; its metadata says how to build every part (and carries the tokeniser), so that the file
alone is the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from kinema.codecs import TemporalAutoencoder, from_settings, to_settings
from kinema.errors import UserError
from kinema.systems.movie_gen.video.model import MovieGenTransformer, TransformerConfig
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.weights import load_strict, read_weights

SCHEMA = 1
METADATA_KEY = "kinema.movie_gen_video"
PromptStyle = Literal["world", "free"]  # bring prompts into the world's captions, or leave them as they are


@dataclass
class Parts:
    """Codec, text encoder and transformer, and how prompts are meant to look."""

    codec: TemporalAutoencoder
    text: NanoTextEncoder
    transformer: MovieGenTransformer
    prompt_style: PromptStyle = "world"

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Name -> network, in the order in which they are stored."""
        return {"codec": self.codec, "text": self.text, "transformer": self.transformer}

    def to(self, device: str | torch.device) -> Parts:
        """Move all networks."""
        for module in self.modules.values():
            module.to(device)
        return self

    def freeze(self) -> Parts:
        """Ready to generate: eval mode, no gradients."""
        for module in self.modules.values():
            module.eval().requires_grad_(False)
        return self


def save_parts(parts: Parts, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write one file; numbers are stored as `dtype`."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, module in parts.modules.items():
        for key, value in module.state_dict().items():
            tensors[f"{name}.{key}"] = value.detach().cpu().to(dtype).contiguous()
    settings = {
        "schema": SCHEMA,
        "codec": to_settings(parts.codec),
        "text": parts.text.config.to_dict(),
        "tokenizer": parts.text.tokenizer.to_str(),
        "transformer": parts.transformer.config.to_dict(),
        "prompt_style": parts.prompt_style,
    }
    save_file(tensors, str(path), metadata={METADATA_KEY: json.dumps(settings)})


def load_parts(path: str | Path) -> Parts:
    """Read what `save_parts` wrote; parameters are float32.

    Raises:
        UserError: the file is missing, damaged, of a newer schema, or no model of this kind.
    """
    state, metadata = read_weights(path)
    name = Path(path).name
    try:
        settings: Mapping[str, Any] = json.loads(metadata[METADATA_KEY])
        if settings["schema"] != SCHEMA:
            raise UserError(
                f"'{name}' was written with schema {settings['schema']} and this kinema reads {SCHEMA}: "
                "update kinema, or train the model again"
            )
        codec, style = from_settings(settings["codec"]), settings["prompt_style"]
        text = NanoTextEncoder(
            NanoTextConfig.from_dict(settings["text"]), Tokenizer.from_str(settings["tokenizer"])
        )
        transformer = MovieGenTransformer(TransformerConfig.from_dict(settings["transformer"]))
        if not isinstance(codec, TemporalAutoencoder) or style not in get_args(PromptStyle):
            raise ValueError("a part or the prompt style is none of this system's")
        if text.tokenizer.get_vocab_size() > text.config.vocabulary_size:
            raise ValueError("the tokeniser knows more tokens than the encoder embeds")
    except UserError:
        raise
    except Exception as error:  # whatever a foreign or damaged description makes the builders say
        raise UserError(
            f"'{name}' does not describe a Movie Gen Video model of kinema: use a file that `kinema train` wrote"
        ) from error
    parts = Parts(codec=codec, text=text, transformer=transformer, prompt_style=style)
    for part, module in parts.modules.items():
        own = {k.removeprefix(f"{part}."): v.float() for k, v in state.items() if k.startswith(f"{part}.")}
        load_strict(module, own, path)
    foreign = [k for k in state if k.partition(".")[0] not in parts.modules]
    if foreign:
        raise UserError(f"'{name}' holds weights of no part of the model, such as '{foreign[0]}'")
    return parts
