"""Weight files of networks that see: tensors, and all that is needed to use them again, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.weights import check_schema, load_strict, read_weights

KEY: Final = "kinema.vision"
SCHEMA: Final = 1


@dataclass(frozen=True, kw_only=True)
class VisionFile:
    """What stands in a file beside its tensors.

    room: the system whose network it is, such as `swag`. network: which of its networks, such as `vit`. config,
    preprocessing: plain values of the room's own dataclasses. labels: kind of input -> names of the head's classes.
    facts: whatever else is worth knowing of the training, plain values.
    """

    room: str
    network: str
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def save_vision(network: nn.Module, path: str | Path, about: VisionFile) -> None:
    """Write a network with its floats as float16; an older file of that name is replaced, whole or not at all.

    Raises UserError where the file cannot be written.
    """
    from safetensors.torch import save

    from kinema.media.files import write_bytes

    tensors = {name: _stored(value) for name, value in network.state_dict().items()}
    settings = {"schema": SCHEMA, **{name: getattr(about, name) for name in VisionFile.__dataclass_fields__}}
    write_bytes(path, save(tensors, metadata={KEY: json.dumps(settings)}), overwrite=True)


def is_vision_file(path: str | Path) -> bool:
    """Whether `save_vision` wrote this file: only its header is read."""
    from kinema.weights import read_header

    return Path(path).suffix == ".safetensors" and Path(path).is_file() and KEY in read_header(path).metadata


def read_vision(path: str | Path, room: str) -> tuple[dict[str, Tensor], VisionFile]:
    """What `save_vision` wrote: tensors, floats as float32, and what stands beside them.

    Raises:
        UserError: the file is missing, damaged, of another room or not of this kind.
    """
    state, metadata = read_weights(path)
    name = Path(path).name
    try:
        settings = json.loads(metadata[KEY])
        check_schema(settings, SCHEMA, path)
        about = VisionFile(**{key: settings[key] for key in VisionFile.__dataclass_fields__})
        plain = all(
            isinstance(table, dict)
            for table in (about.config, about.preprocessing, about.labels, about.facts)
        )
        if not plain or not all(isinstance(names, list) for names in about.labels.values()):
            raise TypeError
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"'{name}' does not describe a network of kinema that sees: give a file that `kinema train` wrote, or say "
            f"by the model's name which released file it is, as in kinema.load('{room}/NAME', weights=FILE)"
        ) from error
    if about.room != room:
        raise UserError(f"'{name}' holds a network of {about.room}, and one of {room} was expected")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}, about


def fill(network: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> nn.Module:
    """Load strictly and set to evaluation."""
    load_strict(network, state, path)
    return network.eval()


def _stored(value: Tensor) -> Tensor:
    plain = value.detach().cpu().contiguous()
    return plain.to(torch.float16) if plain.is_floating_point() else plain
