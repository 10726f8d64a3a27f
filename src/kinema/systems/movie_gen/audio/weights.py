"""SAM-Audio's DiT block into ours: the public relative of Movie Gen Audio's transformer, key by key.

Its heads are interleaved: channel c of a query, key or value belongs to head c mod heads, while the output is joined
head by head. Rows of wq, wk and wv are put in order here, so that our attention needs no second layout.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kinema.errors import UserError

_NAMES = {
    "attention_norm.weight": "self_norm.weight",
    "ffn_norm.weight": "ffn_norm.weight",
    "feed_forward.w1.weight": "ffn.gate.weight",
    "feed_forward.w3.weight": "ffn.up.weight",
    "feed_forward.w2.weight": "ffn.down.weight",
    "scale_shift_table": "modulation.table",
} | {
    f"{theirs}.{a}.weight": f"{ours}.{b}.weight"
    for theirs, ours in (("attention", "self_attention"), ("cross_attention", "cross_attention"))
    for a, b in (
        ("wq", "q"), ("wk", "k"), ("wv", "v"), ("wo", "out"), ("q_norm", "q_norm"), ("k_norm", "k_norm"),
    )
}  # fmt: skip
_INTERLEAVED = ("wq.weight", "wk.weight", "wv.weight")


def head_order(dim: int, num_heads: int) -> Tensor:
    """Rows of an interleaved projection in the order of our heads: row h * d + j is theirs j * heads + h."""
    return torch.arange(dim).view(dim // num_heads, num_heads).T.flatten()


def block_from_sam_audio(state: Mapping[str, Tensor], num_heads: int) -> dict[str, Tensor]:
    """The state of one `DiTBlock` of SAM-Audio under our names and in our order of heads.

    Raises:
        UserError: a key that the table does not know; what is missing shows when the state is loaded.
    """
    unknown = sorted(set(state) - set(_NAMES))
    if unknown:
        raise UserError(f"'{unknown[0]}' is no part of a SAM-Audio block: pass the keys below `layers.N.`")
    return {
        _NAMES[key]: value[head_order(len(value), num_heads)] if key.endswith(_INTERLEAVED) else value
        for key, value in state.items()
    }
