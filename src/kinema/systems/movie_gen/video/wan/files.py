"""Weight files of Wan 2.1: one file or several, either layout, read whole or a block at a time.

A file is checked by its header alone before anything is read: names, shapes, and that nothing is missing or more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.systems.movie_gen.video.wan.config import WanConfig
from kinema.systems.movie_gen.video.wan.keys import diffusers_name, layout_of, our_names
from kinema.systems.movie_gen.video.wan.layers import Block
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from kinema.systems.movie_gen.video.wan.offload import BlockStream
from kinema.weights import check_fit, check_weights_path, read_header

METADATA_KEY = "kinema.wan"
HEAD_DIM = 128  # of every published Wan; the shapes alone do not tell it
STEM = "diffusion_pytorch_model"  # of the files' names in both layouts

Offload = Literal["none", "cpu", "file"]


@dataclass(frozen=True)
class WeightFiles:
    """Where each tensor lies: our name -> (file, its name there), and its shape."""

    places: Mapping[str, tuple[Path, str]]
    shapes: Mapping[str, tuple[int, ...]]
    config: WanConfig
    source: Path

    @classmethod
    def find(cls, path: str | Path, config: WanConfig | None = None) -> WeightFiles:
        """Look at a file, or at a folder of Wan's or of diffusers' layout, by the headers alone.

        Args:
            config: the network's settings; without them they are read from the file's metadata or from `config.json`
                beside it, and from the shapes.
        """
        source = Path(path)
        found: dict[str, tuple[Path, str]] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        metadata: dict[str, str] = {}
        paths = list(_paths(source))
        for file in paths:
            header = read_header(file)
            metadata.update(header.metadata)
            for name, info in header.tensors.items():
                if name in found:
                    raise UserError(
                        f"'{name}' is in '{found[name][0].name}' and in '{file.name}': remove one of them"
                    )
                found[name], shapes[name] = (file, name), info.shape
        layout = layout_of(found.keys(), source)
        theirs = {n: diffusers_name(n) if layout == "diffusers" else n for n in _SHOWING}
        if config is None:
            config = _config(
                {ours: shapes.get(name) for ours, name in theirs.items()}, shapes, metadata, paths[0]
            )
        with torch.device("meta"):
            own = WanTransformer(config).state_dict()
        table = our_names(found.keys(), own.keys(), source)
        ours = {table[name]: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        check_fit(own, ours, source, "WanTransformer")
        return cls(
            {table[name]: place for name, place in found.items()},
            {name: tuple(tensor.shape) for name, tensor in ours.items()},
            config,
            source,
        )

    def read(self, names: Iterable[str], check: bool = True) -> dict[str, Tensor]:
        """These tensors, on the CPU, as they are stored; views of the mapped file, which is released with them.

        UserError, where `check` is set, for values that are not finite.
        """
        from safetensors import safe_open

        by_file: dict[Path, list[tuple[str, str]]] = {}
        for name in names:
            file, key = self.places[name]
            by_file.setdefault(file, []).append((name, key))
        tensors: dict[str, Tensor] = {}
        for file, pairs in by_file.items():
            with safe_open(file, framework="pt", device="cpu") as opened:
                for name, key in pairs:
                    tensors[name] = opened.get_tensor(key)
                    if check and not bool(tensors[name].isfinite().all()):
                        raise UserError(
                            f"the weight file '{file}' is damaged: '{key}' holds values that are not finite. "
                            "Copy or download it again"
                        )
        return tensors


def load_transformer(
    path: str | Path,
    *,
    config: WanConfig | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    offload: Offload = "none",
) -> WanTransformer:
    """Read a transformer, ready to generate; to train it on, load it without offload and call `requires_grad_()`.

    Args:
        path: a safetensors file, or a folder as published, by Wan or for diffusers.
        dtype: in which the matrices are held; norms, modulation and the time embedding stay in float32.
        offload: where the blocks are kept while they do not run: "none", on the device; "cpu", in main memory;
            "file", in the file itself, so that little more than one block is ever in memory.
    """
    if offload not in ("none", "cpu", "file"):
        raise UserError(f"offload={offload!r} is not known: choose none, cpu or file")
    files = WeightFiles.find(path, config)
    with torch.device("meta"):
        model = WanTransformer(files.config)
    names = list(model.state_dict())
    stay = [name for name in names if offload == "none" or not name.startswith("blocks.")]
    _assign(model, files, stay, torch.device(device), dtype)
    if offload != "none":
        model.stream = _stream(files, torch.device(device), dtype, kept=offload == "cpu")
    return model.eval().requires_grad_(False)


def save_transformer(model: WanTransformer, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write one safetensors file in Wan's own layout, the settings in its metadata."""
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().to(dtype).contiguous() for name, value in model.state_dict().items()}
    save_file(state, str(path), metadata={METADATA_KEY: json.dumps(model.config.to_dict())})


def stays_float32(name: str) -> bool:
    """Whether a tensor is held in float32 whatever the matrices are held in."""
    return bool(re.search(r"^time_|modulation$|norm", name))


def _paths(source: Path) -> Iterator[Path]:
    """The safetensors files that make up one network."""
    if not source.exists():
        raise UserError(f"there is no weight file and no folder at '{source}': check the path")
    if not source.is_dir():
        check_weights_path(source)
        if source.suffix != ".safetensors":
            raise UserError(f"'{source}' is not a safetensors file, in which Wan's transformer is published")
        yield source
        return
    for folder in (source, source / "transformer"):
        index = folder / f"{STEM}.safetensors.index.json"
        if index.is_file():
            files = sorted(
                {folder / Path(str(name)).name for name in _json(index).get("weight_map", {}).values()}
            )
        elif (folder / f"{STEM}.safetensors").is_file():
            files = [folder / f"{STEM}.safetensors"]
        else:
            files = sorted(folder.glob(f"{STEM}-*-of-*.safetensors"))
        if files:
            for file in files:
                check_weights_path(file)
                yield file
            return
    raise UserError(
        f"there is no '{STEM}*.safetensors' in '{source}' nor in its folder 'transformer': give the folder that was "
        "downloaded, or the file"
    )


_SHOWING = (
    "patch_embedding.weight",
    "blocks.0.ffn.0.weight",
    "text_embedding.0.weight",
    "time_embedding.0.weight",
)


def _config(
    showing: Mapping[str, tuple[int, ...] | None],
    shapes: Mapping[str, tuple[int, ...]],
    metadata: Mapping[str, str],
    first: Path,
) -> WanConfig:
    """Settings from the file's metadata, or from its shapes and the count of heads in `config.json` beside it."""
    if METADATA_KEY in metadata:
        try:
            return WanConfig.from_dict(json.loads(metadata[METADATA_KEY]))
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"the settings in the metadata of '{first}' are damaged: {error}") from error
    for name, shape in showing.items():
        if shape is None or len(shape) != (5 if name.startswith("patch") else 2):
            raise UserError(f"'{first}' lacks '{name}', or has it in a shape that no Wan 2.1 has")
    patch, ffn, text, time = (cast(tuple[int, ...], showing[name]) for name in _SHOWING)
    beside = _json(first.parent / "config.json") if (first.parent / "config.json").is_file() else {}
    heads = beside.get("num_heads", beside.get("num_attention_heads", max(1, patch[0] // HEAD_DIM)))
    blocks = {int(match[1]) for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name))}
    return WanConfig(
        dim=patch[0],
        depth=len(blocks),
        num_heads=int(heads),
        hidden=ffn[0],
        latent_channels=patch[1],
        text_dim=text[1],
        patch=cast(tuple[int, int, int], patch[2:]),
        freq_dim=time[1],
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"'{path}' is not JSON: copy or download it again") from error
    if not isinstance(values, dict):
        raise UserError(f"'{path}' is not a table: copy or download it again")
    return values


def _assign(
    module: nn.Module, files: WeightFiles, names: Iterable[str], device: torch.device, dtype: torch.dtype
) -> None:
    """Give the network these tensors, one at a time, so that no second copy of the whole exists."""
    for name in names:
        stored = files.read([name])[name]
        wanted = torch.float32 if stays_float32(name) else dtype
        value = stored.to(device=device, dtype=wanted, copy=True)
        owner, _, last = name.rpartition(".")
        setattr(module.get_submodule(owner), last, nn.Parameter(value, requires_grad=False))


def _stream(files: WeightFiles, device: torch.device, dtype: torch.dtype, kept: bool) -> BlockStream:
    """The blocks as a stream, from the file or from copies in main memory."""
    with torch.device(device):
        block = Block(files.config)
    for name, parameter in block.named_parameters():
        parameter.data = parameter.data.to(torch.float32 if stays_float32(name) else dtype)
    locals_ = [name for name, _ in block.named_parameters()]

    checked: set[int] = set()

    def from_file(index: int) -> Mapping[str, Tensor]:
        stored = files.read((f"blocks.{index}.{name}" for name in locals_), check=index not in checked)
        checked.add(index)
        return {name: stored[f"blocks.{index}.{name}"] for name in locals_}

    if not kept:
        return BlockStream(block, from_file, files.config.depth)
    copies = []
    for index in range(files.config.depth):
        tensors = {
            name: value.to(block.get_parameter(name).dtype, copy=True)
            for name, value in from_file(index).items()
        }
        copies.append({n: v.pin_memory() for n, v in tensors.items()} if device.type == "cuda" else tensors)
    return BlockStream(block, copies.__getitem__, files.config.depth)
