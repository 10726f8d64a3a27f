"""Depth networks in a file: float, or eight-bit weights with the ranges of their activations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.systems.photo_3d.depth_model import Tiefenrausch, TiefenrauschConfig
from kinema.systems.photo_3d.quantised import add_quantisers, scale_and_zero, set_mode
from kinema.weights import check_schema, load_strict, read_weights

KEY: Final = "kinema.photo_3d.depth"
SCHEMA: Final = 1
Storage = Literal["float32", "float16", "uint8"]


def save_depth(
    network: Tiefenrausch,
    path: str | Path,
    storage: Storage = "float16",
    scales: Mapping[str, tuple[float, int]] | None = None,
    **facts: Any,
) -> None:
    """Write a network, its norms folded already; an older file of that name is replaced.

    Args:
        storage: of the weights; biases and ranges stay float32. uint8 keeps each weight as 256 values, which is exact
            where they were rounded before, see `round_weights`.
        scales: name of a weight -> scale and zero point of its 256 values, where its extremes do not tell them.
        facts: what else is to stand in the file, plain values.

    Raises:
        UserError: the file cannot be written.
    """
    from safetensors.torch import save

    from kinema.media.files import write_bytes

    if network.config.norm != "bias":
        raise ValueError("fold the batch norms before saving")
    tensors: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        plain = value.detach().cpu().float().contiguous()
        if plain.ndim != 4 or storage == "float32":
            tensors[name] = plain
        elif storage == "float16":
            tensors[name] = plain.half()
        else:
            if scales is not None and name in scales:
                scale, zero = (torch.tensor(float(value)) for value in scales[name])
            else:
                scale, zero = scale_and_zero(plain.amin(), plain.amax())
            tensors[name] = (plain / scale + zero).round().clamp(0, 255).to(torch.uint8)
            tensors[f"{name}_scale"] = torch.stack([scale, zero])
    settings = {
        "schema": SCHEMA,
        "config": network.config.to_dict(),
        "ranges": network.input_quantiser is not None,
        "storage": storage,
        "facts": facts,
    }
    write_bytes(path, save(tensors, metadata={KEY: json.dumps(settings)}), overwrite=True)


def load_depth(
    path: str | Path, arithmetic: Literal["int8", "float"] = "int8"
) -> tuple[Tiefenrausch, dict[str, Any]]:
    """Read what `save_depth` wrote: the network in eval mode, and the facts that stand in the file.

    arithmetic: of a network with ranges, `int8` rounds to them and `float` only clamps. One without has neither.

    Raises:
        UserError: the file is missing, damaged, or of another kind.
    """
    state, metadata = read_weights(path)
    try:
        settings = json.loads(metadata[KEY])
        check_schema(settings, SCHEMA, path)
        config, ranges = TiefenrauschConfig.from_dict(settings["config"]), bool(settings["ranges"])
        facts = dict(settings.get("facts", {}))
        if config.norm != "bias":
            raise KeyError("norm")
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"'{Path(path).name}' does not describe a depth network of kinema: give a file that `kinema train` or "
            "`python -m kinema.systems.photo_3d.converter` wrote"
        ) from error
    with torch.device("meta"):
        network = Tiefenrausch(config)
        if ranges:
            add_quantisers(network)
    load_strict(network, _dequantised(state, path), path)
    if ranges:
        set_mode(network, "round" if arithmetic == "int8" else "clamp")
    return network.eval(), facts


def _dequantised(state: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    floats = {}
    for name, value in state.items():
        if name.endswith("weight_scale"):
            continue
        if value.dtype == torch.uint8:
            pair = state.get(f"{name}_scale")
            if pair is None or pair.shape != (2,):
                raise UserError(f"'{Path(path).name}' has no scale for '{name}': copy or convert it again")
            floats[name] = (value.float() - pair[1]) * pair[0]
        else:
            floats[name] = value.float()
    return floats
