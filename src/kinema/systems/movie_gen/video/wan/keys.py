"""The names of Wan's tensors in its two published layouts: Wan's own, which is this network's, and that of diffusers.

The tables are total: a name that they do not know, or one that a file lacks, is an error and never passed over.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from kinema.errors import UserError
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from kinema.weights import load_strict

Layout = Literal["wan", "diffusers"]

OUTER = {  # ours -> diffusers, outside the blocks
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
INNER = {  # inside each block; norm2 and norm3 change places, and norm2 of Wan has no parameters
    **{f"self_attn.{ours}": f"attn1.{theirs}" for ours, theirs in ATTENTION.items()},
    **{f"cross_attn.{ours}": f"attn2.{theirs}" for ours, theirs in ATTENTION.items()},
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}


def diffusers_name(name: str) -> str:
    """What diffusers calls the tensor that Wan calls `name`; UserError for a name that is none of Wan's."""
    block = re.fullmatch(r"(blocks\.\d+\.)(.+)", name)
    prefix, rest = (block[1], block[2]) if block else ("", name)
    table = INNER if block else OUTER
    parts = re.fullmatch(r"(.+?)(\.weight|\.bias)?", rest)
    stem, suffix = (parts[1], parts[2] or "") if parts else (rest, "")
    if stem not in table or (suffix == "") != stem.endswith("modulation"):
        raise UserError(f"'{name}' is not the name of a tensor of Wan 2.1")
    return f"{prefix}{table[stem]}{suffix}"


def layout_of(names: Collection[str], source: str | Path) -> Layout:
    """Which layout a file is in; UserError where it is neither, or of a variant that this network is not."""
    for variant in ("img_emb.", "condition_embedder.image_embedder.", "vace_"):
        if any(name.startswith(variant) for name in names):
            raise UserError(
                f"'{source}' holds a Wan that also takes pictures ('{variant}...'), and kinema runs the text-to-video "
                "models: take Wan2.1-T2V"
            )
    if any(name.startswith("condition_embedder.") for name in names):
        return "diffusers"
    if any(name.startswith("time_projection.") for name in names):
        return "wan"
    raise UserError(f"'{source}' holds no transformer of Wan 2.1 in its own layout or that of diffusers")


def our_names(names: Collection[str], own: Iterable[str], source: str | Path) -> dict[str, str]:
    """The name in a file -> the network's own name, one to one and complete; UserError for any that is missing or more.

    Args:
        own: every tensor name of the network that is to be filled.
    """
    layout = layout_of(names, source)
    table = {diffusers_name(name) if layout == "diffusers" else name: name for name in own}
    missing, extra = sorted(table.keys() - set(names)), sorted(set(names) - table.keys())
    facts = []
    if missing:
        facts.append(f"{len(missing)} missing, such as '{missing[0]}'")
    if extra:
        near = difflib.get_close_matches(extra[0], table, n=3, cutoff=0.0)
        facts.append(f"{len(extra)} unknown, such as '{extra[0]}' (the closest known are {', '.join(near)})")
    if facts:
        raise UserError(
            f"the weights in '{source}' do not fit this Wan 2.1 in the layout of {layout}: {'; '.join(facts)}. "
            "Check that the file is whole and belongs to this preset"
        )
    return table


def load_state(model: WanTransformer, state: Mapping[str, Tensor], source: str | Path = "state") -> None:
    """Fill a network from tensors in either layout; every one is used, none is left, and shapes must agree."""
    table = our_names(state.keys(), model.state_dict().keys(), source)
    load_strict(model, {table[name]: tensor for name, tensor in state.items()}, source)


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state in our names -> the same tensors under the names of diffusers' WanTransformer3DModel."""
    return {diffusers_name(name): tensor for name, tensor in state.items()}
