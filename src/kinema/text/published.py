"""Published weight files into our towers: tables of key names, the files of a folder, one strict load.

A tower's own keys are those of the layout that most of its files have. A `KeyTable` says how the other layouts call
the same tensors, and which tensors are left out and why. What no table knows is an error.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.weights import load_strict, read_weights

logger = logging.getLogger("kinema.text")

Network = TypeVar("Network", bound=nn.Module)
Files = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class KeyTable:
    """How published files name tensors.

    `renames` are pairs of a regular expression and the names that a tensor so called gets; of n names each takes
    an nth of its first axis. `drops` are pairs of a regular expression and the reason why it is not needed.
    """

    renames: tuple[tuple[str, tuple[str, ...]], ...]
    drops: tuple[tuple[str, str], ...]

    def convert(
        self, state: Mapping[str, Tensor], own: Collection[str], source: str | Path
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors under our names, and the dropped ones with the reason.

        A key that the network has itself keeps its name; so does a key that no line knows, for the strict load to
        refuse. Two tensors for one name must be equal.
        """
        kept: dict[str, Tensor] = {}
        dropped: dict[str, str] = {}
        for key, tensor in state.items():
            reason = None if key in own else self._reason(key)
            if reason is not None:
                dropped[key] = reason
                continue
            names = (key,) if key in own else self._names(key)
            if tensor.shape[:1].numel() % len(names):
                raise UserError(
                    f"'{key}' in '{source}' has the shape {tuple(tensor.shape)}, and its first axis should fall into "
                    f"{len(names)} equal parts: check that the file belongs to this model"
                )
            for name, part in zip(names, tensor.chunk(len(names)) if len(names) > 1 else (tensor,)):
                merge(kept, name, part, source)
        return kept, dropped

    def _names(self, key: str) -> tuple[str, ...]:
        for pattern, names in self.renames:
            if match := re.fullmatch(pattern, key):
                return tuple(match.expand(name) for name in names)
        return (key,)

    def _reason(self, key: str) -> str | None:
        return next((reason for pattern, reason in self.drops if re.fullmatch(pattern, key)), None)


def merge(state: dict[str, Tensor], name: str, tensor: Tensor, source: str | Path) -> None:
    """Put a tensor into `state`; a second one of the same name must be the same tensor."""
    if name in state and not torch.equal(state[name], tensor):
        raise UserError(
            f"'{source}' holds two different tensors for '{name}': the file was put together wrongly"
        )
    state[name] = tensor


def load_published(network: Network, files: Files, table: KeyTable, dtype: torch.dtype) -> Network:
    """Fill a network (usually on the meta device) from published files; it comes back frozen.

    The files are read one after the other, and what is not needed is let go before the next.
    """
    own = network.state_dict()
    state: dict[str, Tensor] = {}
    paths = weight_files(files)
    source = paths[0] if len(paths) == 1 else paths[0].parent
    for path in paths:
        try:
            read, _ = read_weights(path)
        except NotImplementedError as error:  # PyTorch cannot check numbers of 8 bits
            raise UserError(
                f"'{path}' holds numbers of 8 bits: pass weights that are not quantised"
            ) from error
        kept, dropped = table.convert(read, own, path)
        for reason in dict.fromkeys(dropped.values()):
            count = sum(why == reason for why in dropped.values())
            logger.info("%s: %d tensors left out: %s", path, count, reason)
        for name, tensor in kept.items():
            if not tensor.is_floating_point():
                raise UserError(
                    f"'{name}' in '{path}' is of {tensor.dtype}: pass weights that are not quantised"
                )
            merge(state, name, tensor.to(dtype), path)
    load_strict(network, state, source)
    return network.requires_grad_(False).eval()


def weight_files(files: Files) -> list[Path]:
    """The files that were asked for: themselves, or those of a folder (the shards of its index, or the only one)."""
    if not isinstance(files, (str, Path)):
        if not files:
            raise UserError("there are no weight files in this list: pass at least one path")
        return [Path(file) for file in files]
    path = Path(files)
    if path.name.endswith(".index.json"):
        return _shards(path)
    if not path.is_dir():
        return [path]
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return [path / name]
        if (path / f"{name}.index.json").is_file():
            return _shards(path / f"{name}.index.json")
    raise UserError(
        f"the folder '{path}' has no model.safetensors, no pytorch_model.bin and no .index.json of either: "
        "pass the weight files themselves"
    )


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"'{index}' is not an index of weight files: it should be JSON with a weight_map"
        ) from error
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise UserError(f"'{index}' should name weight files that lie beside it")
    return [index.parent / name for name in names]
