"""Keeps what a frozen network computed (latents, text states), keyed by content, in memory and on disk.

The key hashes the network's weights, the settings and the sample, so a changed encoder never meets old features.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

Features = dict[str, Tensor]


def weights_hash(module: nn.Module) -> str:
    """32 hexadecimal digits over the names, types, shapes and bytes of all parameters and buffers."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(module: nn.Module, **settings: Any) -> str:
    """The identity of what a network computes under these settings (JSON values): sizes, frames, dtype, ..."""
    text = json.dumps({"weights": weights_hash(module), **settings}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class FeatureCache:
    """`lookup(keys, compute)` gives a batch of features and computes only those it has not seen.

    identity: `fingerprint(...)` of the network. folder: also keep them there (None: memory only).
    memory_bytes, disk_bytes: limits; the least recently used go first. Safe to use from several threads, and from
    several processes on one folder: a file is there whole or not at all, and a damaged one is computed again.
    """

    def __init__(
        self,
        identity: str,
        *,
        folder: Path | str | None = None,
        memory_bytes: int = 512 * 2**20,
        disk_bytes: int = 8 * 2**30,
    ) -> None:
        self.folder = Path(folder) / identity if folder is not None else None
        self.memory_bytes, self.disk_bytes = memory_bytes, disk_bytes
        self.hits = self.misses = 0
        self._memory: OrderedDict[str, Features] = OrderedDict()
        self._used = 0
        self._lock = threading.RLock()
        self._disk: OrderedDict[Path, int] = OrderedDict()
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            found = [(path.stat(), path) for path in self.folder.glob("*/*.safetensors")]
            for stat, path in sorted(found, key=lambda item: item[0].st_mtime_ns):
                self._disk[path] = stat.st_size
        self._stored = sum(self._disk.values())

    def lookup(
        self, keys: Sequence[Any], compute: Callable[[list[int]], Tensor | Mapping[str, Tensor]]
    ) -> Any:
        """Features of `keys` in order: a tensor (len(keys), ...), or a dict of such tensors.

        compute(positions) gets the positions in `keys` that are missing and returns their features in that order,
        one row each. A key is anything with a stable repr: a number, a caption, (split, index).
        """
        hashes = [hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest() for key in keys]
        rows = [self._get(name) for name in hashes]
        first = {name: position for position, name in reversed(list(enumerate(hashes)))}
        missing = [i for i, row in enumerate(rows) if row is None and first[hashes[i]] == i]
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        if missing:
            answer = compute(missing)
            parts: Mapping[str, Tensor] = {"": answer} if isinstance(answer, Tensor) else answer
            for name, part in parts.items():
                if len(part) != len(missing):
                    raise ValueError(
                        f"compute returned {len(part)} rows of {name or 'features'} for {len(missing)} keys"
                    )
            for row, position in enumerate(missing):
                fresh = {name: part[row].detach().cpu().clone() for name, part in parts.items()}
                rows[position] = fresh
                self._put(hashes[position], fresh)
        whole: list[Features] = []
        for i, name in enumerate(hashes):
            found = rows[i] if rows[i] is not None else rows[first[name]]
            assert found is not None
            whole.append(found)
        if not whole:
            raise ValueError("lookup needs at least one key")
        stacked = {name: torch.stack([row[name] for row in whole]) for name in whole[0]}
        return stacked[""] if set(stacked) == {""} else stacked

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / name[:2] / f"{name}.safetensors"

    def _get(self, name: str) -> Features | None:
        with self._lock:
            if name in self._memory:
                self._memory.move_to_end(name)
                return self._memory[name]
        if self.folder is None:
            return None
        path = self._path(name)
        try:
            row = {key.removeprefix("_"): value for key, value in safetensors.torch.load_file(path).items()}
            os.utime(path)
            with self._lock:
                if path in self._disk:
                    self._disk.move_to_end(path)
        except (OSError, SafetensorError):
            return None
        self._remember(name, row)
        return row

    def _put(self, name: str, row: Features) -> None:
        self._remember(name, row)
        if self.folder is None:
            return
        path = self._path(name)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
        safetensors.torch.save_file({f"_{key}": value.contiguous() for key, value in row.items()}, temporary)
        os.replace(temporary, path)
        with self._lock:
            self._stored -= self._disk.pop(path, 0)
            self._disk[path] = path.stat().st_size
            self._stored += self._disk[path]
            while self._stored > self.disk_bytes and self._disk:
                oldest, size = self._disk.popitem(last=False)
                oldest.unlink(missing_ok=True)
                self._stored -= size

    def _remember(self, name: str, row: Features) -> None:
        size = sum(value.nbytes for value in row.values())
        with self._lock:
            if name in self._memory:
                self._used -= sum(value.nbytes for value in self._memory.pop(name).values())
            self._memory[name] = row
            self._used += size
            while self._used > self.memory_bytes and self._memory:
                _, old = self._memory.popitem(last=False)
                self._used -= sum(value.nbytes for value in old.values())
