"""The three networks that make a text-to-video system, and the one file that holds them.

A weight file is safetensors; its metadata says how to build every part (and carries the tokeniser), so that the file
alone is the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from tokenizers import Tokenizer
from torch import nn

from kinema.codecs import TemporalAutoencoder, from_settings, to_settings
from kinema.errors import UserError
from kinema.systems.movie_gen.video.model import MovieGenTransformer, TransformerConfig
from kinema.text.characters import CharacterCodes
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.states import TextStates
from kinema.text.tokenizer import packed, unpacked
from kinema.weights import check_schema, fill_networks, read_weights, save_networks

SCHEMA = 1
METADATA_KEY = "kinema.movie_gen_video"
PromptStyle = Literal["world", "free"]  # bring prompts into the world's captions, or leave them as they are


@dataclass
class Parts:
    """Codec, text encoder and transformer, how prompts are meant to look, and what spells the quoted words (if any)."""

    codec: TemporalAutoencoder
    text: NanoTextEncoder
    transformer: MovieGenTransformer
    prompt_style: PromptStyle = "world"
    characters: CharacterCodes | None = None

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Name -> network, in the order in which they are stored."""
        return {"codec": self.codec, "text": self.text, "transformer": self.transformer}

    def read(self, texts: Sequence[str], one_length: bool = False) -> tuple[TextStates, ...]:
        """What the transformer is told of texts, one entry for each of its `text_dims`.

        one_length: pad to the longest text there can be, so that compiled blocks see one shape.
        """
        states = self.text.encode(texts)
        if one_length:
            states = states.padded(self.text.max_tokens)
        if self.characters is None:
            return (states,)
        return states, self.characters.encode(texts).to(states.embeds.device)

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
    settings = {
        "schema": SCHEMA,
        "codec": to_settings(parts.codec),
        "text": parts.text.config.to_dict(),
        "tokenizer": packed(parts.text.tokenizer.to_str()),
        "transformer": parts.transformer.config.to_dict(),
        "prompt_style": parts.prompt_style,
        "characters": parts.characters.max_tokens if parts.characters else 0,
    }
    save_networks(parts.modules, path, METADATA_KEY, settings, dtype)


def load_parts(path: str | Path) -> Parts:
    """Read what `save_parts` wrote; parameters are float32.

    Raises:
        UserError: the file is missing, damaged, of a newer schema, or no model of this kind.
    """
    state, metadata = read_weights(path)
    name = Path(path).name
    try:
        settings: Mapping[str, Any] = json.loads(metadata[METADATA_KEY])
        check_schema(settings, SCHEMA, path)
        codec, style = from_settings(settings["codec"]), settings["prompt_style"]
        text = NanoTextEncoder(
            NanoTextConfig.from_dict(settings["text"]), Tokenizer.from_str(unpacked(settings["tokenizer"]))
        )
        spelled = int(settings.get("characters", 0))
        characters = CharacterCodes(spelled) if spelled else None
        transformer = MovieGenTransformer(TransformerConfig.from_dict(settings["transformer"]))
        if not isinstance(codec, TemporalAutoencoder) or style not in get_args(PromptStyle):
            raise ValueError("a part or the prompt style is none of this system's")
        told = (text.dim, characters.dim) if characters else (text.dim,)
        if not 0 <= spelled <= 64 or transformer.config.text_dims != told:
            raise ValueError("the transformer is told of texts in another way")
        if text.tokenizer.get_vocab_size() > text.config.vocabulary_size:
            raise ValueError("the tokeniser knows more tokens than the encoder embeds")
    except UserError:
        raise
    except Exception as error:  # whatever a foreign or damaged description makes the builders say
        raise UserError(
            f"'{name}' does not describe a Movie Gen Video model of kinema: use a file that `kinema train` wrote"
        ) from error
    parts = Parts(codec=codec, text=text, transformer=transformer, prompt_style=style, characters=characters)
    fill_networks(parts.modules, state, path)
    return parts
