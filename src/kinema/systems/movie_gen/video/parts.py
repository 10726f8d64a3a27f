"""The three networks that make a text-to-video system, and the one file that holds them.

A weight file is safetensors; its metadata says how to build every part (and carries the tokeniser), so that the file
alone is the model.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from kinema.codecs import TemporalAutoencoder, from_settings, to_settings
from kinema.errors import UserError
from kinema.systems.movie_gen.video.model import MovieGenTransformer, TransformerConfig
from kinema.text.characters import CharacterCodes
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.states import TextStates
from kinema.weights import load_strict, read_weights

SCHEMA = 1
METADATA_KEY = "kinema.movie_gen_video"
MAX_TOKENIZER = 1 << 24  # bytes that a file may unpack to
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
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, module in parts.modules.items():
        for key, value in module.state_dict().items():
            tensors[f"{name}.{key}"] = value.detach().cpu().to(dtype).contiguous()
    settings = {
        "schema": SCHEMA,
        "codec": to_settings(parts.codec),
        "text": parts.text.config.to_dict(),
        "tokenizer": _packed(parts.text.tokenizer.to_str()),
        "transformer": parts.transformer.config.to_dict(),
        "prompt_style": parts.prompt_style,
        "characters": parts.characters.max_tokens if parts.characters else 0,
    }
    save_file(tensors, str(path), metadata={METADATA_KEY: json.dumps(settings)})


def _packed(text: str) -> str:
    """A text in a fraction of its length, in characters that JSON leaves alone."""
    return base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def _unpacked(text: str) -> str:
    """What `_packed` was given; texts of files from before it come as they are."""
    if text.startswith("{"):
        return text
    opened = zlib.decompressobj()
    plain = opened.decompress(base64.b85decode(text), MAX_TOKENIZER)
    if not opened.eof:
        raise ValueError(f"the tokeniser is cut short, or longer than {MAX_TOKENIZER} bytes")
    return plain.decode()


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
            NanoTextConfig.from_dict(settings["text"]), Tokenizer.from_str(_unpacked(settings["tokenizer"]))
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
    for part, module in parts.modules.items():
        own = {k.removeprefix(f"{part}."): v.float() for k, v in state.items() if k.startswith(f"{part}.")}
        load_strict(module, own, path)
    foreign = [k for k in state if k.partition(".")[0] not in parts.modules]
    if foreign:
        raise UserError(f"'{name}' holds weights of no part of the model, such as '{foreign[0]}'")
    return parts
