"""Weight files: read them without running anything in them, check them, name them by their hash, load them strictly.

safetensors is the format; a PyTorch file (`.pt`, `.pth`, `.bin`, `.torch`) is read with `weights_only=True` and nothing
looser.
Every way in which a file can be wrong ends in one `UserError` sentence that names the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kinema.errors import UserError

if TYPE_CHECKING:
    import torch

HASH_DIGITS: Final = 12
MAX_HEADER_BYTES: Final = 100_000_000  # the limit that the safetensors format itself sets
SUFFIXES: Final = (".safetensors", ".pt", ".pth", ".bin", ".torch")

_BYTES_EACH: Final = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """What a safetensors header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file: its tensors and its free string map."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]

    @property
    def num_parameters(self) -> int:
        """The number of values that the file stores, buffers included."""
        return sum(math.prod(info.shape) for info in self.tensors.values())


def weights_hash(path: str | Path) -> str:
    """The first 12 hex digits of the file's SHA-256: the name under which provenance records the weights.

    Of a folder, in which tens of gigabytes may lie, the names, sizes and beginnings of its weight files count.
    """
    if Path(path).is_dir():
        digest = hashlib.sha256()
        for name, part in sorted(
            (file.name, file) for file in Path(path).rglob("*") if file.suffix in SUFFIXES
        ):
            with part.open("rb") as file:
                digest.update(f"{name} {part.stat().st_size} ".encode() + file.read(2**20))
        return digest.hexdigest()[:HASH_DIGITS]
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:HASH_DIGITS]


def read_header(path: str | Path) -> Header:
    """Read and check the header of a safetensors file; the tensors themselves are not touched.

    Refused: a truncated file, a header over 100 MB or not JSON, unknown dtypes, shapes that disagree with the bytes
    they are given, tensors that overlap or leave holes, names with a path in them.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        if size < 8:
            raise _broken(path, f"it has {size} bytes, and the header's length alone takes 8")
        (length,) = struct.unpack("<Q", file.read(8))
        if length > MAX_HEADER_BYTES:
            raise _broken(path, f"its header claims {length} bytes, and the format allows {MAX_HEADER_BYTES}")
        if 8 + length > size:
            raise _broken(path, f"its header claims {length} bytes of the file's {size}, so it was cut short")
        raw = file.read(length)
    try:
        table = json.loads(raw)
    except ValueError as error:  # covers UnicodeDecodeError
        raise _broken(path, "its header is not JSON") from error
    except RecursionError as error:
        raise _broken(path, "its header is nested without end") from error
    if not isinstance(table, dict):
        raise _broken(path, "its header is not a JSON table")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(path, "its metadata is not a table of strings")
    spans = sorted((*_span(path, name, entry), name) for name, entry in table.items())
    position = 0
    for begin, end, name in spans:
        if begin != position:
            raise _broken(path, f"the bytes of '{name}' begin at {begin} and should begin at {position}")
        position = end
    if 8 + length + position != size:
        raise _broken(path, f"it has {size} bytes and its header describes {8 + length + position}")
    tensors = {name: TensorInfo(entry["dtype"], tuple(entry["shape"])) for name, entry in table.items()}
    return Header(tensors, metadata)


def read_weights(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a weight file onto the CPU: (name -> tensor, metadata). The metadata of a PyTorch file is empty.

    Raises `UserError` for a file that is missing, of another kind, damaged, or that holds values that are not finite.
    """
    path = Path(path)
    check_weights_path(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        metadata = dict(read_header(path).metadata)
        try:
            state = load_file(path)
        except SafetensorError as error:
            raise _broken(path, str(error)) from error
    else:
        metadata, state = {}, _read_pickle(path)
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise _broken(path, f"'{name}' holds values that are not finite")
    return state, metadata


def read_released(
    path: str | Path, model: str, licence: str, address: str
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """`read_weights` for a file that is not kinema's: where it is missing, the error says where it is offered."""
    return read_weights(released_file(path, model, licence, address))


def released_file(path: str | Path | None, model: str, licence: str, address: str) -> Path:
    """The path of a file that is not kinema's; where none is given or there, the error says where it is offered."""
    if path is None or not Path(path).is_file():
        where = "" if path is None else f"there is no weight file at '{path}': "
        raise UserError(
            f"{where}the weights of {model} are not part of kinema; they are offered under {licence} at {address}, to "
            "be downloaded and named by their path (weights=FILE, --weights FILE)"
        )
    return Path(path)


def check_weights_path(path: str | Path) -> None:
    """Refuse, before anything heavy starts, a path that cannot be a weight file."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"'{path}' is not a weight file that kinema reads: expected a name that ends in {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise UserError(f"there is no weight file at '{path}': check the path")


def check_weights_folder(path: str | Path) -> None:
    """Refuse a path that is no folder with weight files in it, or one level below."""
    path = Path(path)
    if not path.is_dir():
        raise UserError(
            f"there is no folder '{path}': give the one that the weights were downloaded into, whole"
        )
    if not any(file.suffix in SUFFIXES for pattern in ("*", "*/*") for file in path.glob(pattern)):
        raise UserError(
            f"'{path}' holds no weight files ({', '.join(SUFFIXES)}): give the folder that was downloaded"
        )


def load_strict(module: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str | Path) -> None:
    """Copy `state` into `module`; every key must be there, none may be left, and shapes must agree.

    A parameter or buffer on the meta device takes the tensor itself, so a network can be built without memory first.
    """
    own = module.state_dict()
    check_fit(own, state, source, type(module).__name__)
    module.load_state_dict(dict(state), strict=True, assign=any(tensor.is_meta for tensor in own.values()))


def save_networks(
    networks: Mapping[str, torch.nn.Module],
    path: str | Path,
    key: str,
    settings: Mapping[str, Any],
    dtype: torch.dtype,
) -> None:
    """Write several networks into one safetensors file, numbers as `dtype`; `settings` say how to build them again."""
    from safetensors.torch import save_file

    tensors = {
        f"{name}.{own}": value.detach().cpu().to(dtype).contiguous()
        for name, network in networks.items()
        for own, value in network.state_dict().items()
    }
    save_file(tensors, str(path), metadata={key: json.dumps(dict(settings))})


def check_schema(settings: Mapping[str, Any], schema: int, path: str | Path) -> None:
    """Refuse settings that a newer or older kinema wrote. Raises UserError, and KeyError where none is said."""
    if settings["schema"] != schema:
        raise UserError(
            f"'{Path(path).name}' was written with schema {settings['schema']} and this kinema reads {schema}: "
            "update kinema, or train the model again"
        )


def fill_networks(
    networks: Mapping[str, torch.nn.Module], state: Mapping[str, torch.Tensor], path: str | Path
) -> None:
    """Load what `save_networks` wrote, strictly, as float32. Raises UserError for weights that belong nowhere."""
    for name, network in networks.items():
        prefix = f"{name}."
        own = {key.removeprefix(prefix): v.float() for key, v in state.items() if key.startswith(prefix)}
        load_strict(network, own, path)
    foreign = [key for key in state if key.partition(".")[0] not in networks]
    if foreign:
        raise UserError(f"'{Path(path).name}' holds weights of no part of the model, such as '{foreign[0]}'")


def check_fit(
    own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], source: str | Path, network: str
) -> None:
    """Hold what a file has in `state` against a network's `own` tensors: names and shapes, each difference named."""
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [
        f"{name} is {tuple(state[name].shape)} and should be {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unexpected or wrong:
        facts = [
            _count(missing, "is missing", "are missing"),
            _count(unexpected, "is unexpected", "are unexpected"),
            _count(wrong, "has another shape", "have another shape"),
        ]
        raise UserError(
            f"the weights in '{source}' do not fit this {network}: {'; '.join(filter(None, facts))}. "
            "Check that the file belongs to this model and preset"
        )


def _span(path: Path, name: str, entry: Any) -> tuple[int, int]:
    if not name or not name.isprintable() or "/" in name or "\\" in name or ".." in name:
        raise _broken(path, f"the tensor name {name!r} is not a name but a path or worse")
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (TypeError, KeyError, ValueError) as error:
        raise _broken(path, f"its header does not describe '{name}' properly") from error
    if not whole or not isinstance(dtype, str):
        raise _broken(path, f"its header does not describe '{name}' properly")
    if dtype not in _BYTES_EACH:
        raise _broken(path, f"'{name}' is of the unknown type '{dtype}'")
    if end - begin != math.prod(shape) * _BYTES_EACH[dtype]:
        raise _broken(
            path, f"'{name}' of shape {tuple(shape)} does not fill the {end - begin} bytes it is given"
        )
    return begin, end


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        loaded = _joined(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"'{path}' holds more than tensors, and reading it could run code: ask its maker for safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _broken(path, "PyTorch cannot read it") from error
    for entry in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(entry), dict):
            loaded = loaded[entry]
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in loaded.items()
    ):
        raise UserError(
            f"'{path}' is not a table of named tensors: save the network's state_dict and nothing else"
        )
    return loaded


def _joined(loaded: Any) -> Any:
    """A table of tables, one for each part of a network, as one table whose names are joined by a dot."""
    parts = isinstance(loaded, dict) and len(loaded) > 1 and {"state_dict", "model"}.isdisjoint(loaded)
    if not parts or not all(isinstance(part, dict) for part in loaded.values()):
        return loaded
    return {f"{part}.{name}": value for part, table in loaded.items() for name, value in table.items()}


def _count(names: Iterable[str], one: str, many: str, shown: int = 3) -> str:
    names = list(names)
    if not names:
        return ""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} {one if len(names) == 1 else many} ({', '.join(names[:shown])}{rest})"


def _broken(path: Path, why: str) -> UserError:
    return UserError(f"the weight file '{path}' is damaged: {why}. Copy or download it again")
