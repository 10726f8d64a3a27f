"""Put pieces of a clip together: one after the other into memory taken once, or faded over an overlap."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def collect(pieces: Iterable[Tensor], axis: int, length: int) -> Tensor:
    """The pieces in a row along `axis`, `length` long in all; what comes beyond is cut off.

    Each piece is copied as it comes and not held, so the peak is the result and one piece.
    """
    out: Tensor | None = None
    filled = 0
    for piece in pieces:
        if out is None:
            shape = list(piece.shape)
            shape[axis] = length
            out = piece.new_empty(shape)
        n = min(piece.shape[axis], length - filled)
        out.narrow(axis, filled, n).copy_(piece.narrow(axis, 0, n))
        filled += n
    if out is None or filled != length:
        raise ValueError(f"the pieces have {filled} positions along axis {axis} and should have {length}")
    return out


def blend(before: Tensor, piece: Tensor, axis: int) -> Tensor:
    """Fade from `before`, the last n positions of the tile before, into the first n of `piece`."""
    n = before.shape[axis]
    if n == 0:
        return piece
    shape = [1] * piece.dim()
    shape[axis] = n
    weight = (torch.arange(1, n + 1, device=piece.device, dtype=piece.dtype) / (n + 1)).view(shape)
    head = torch.lerp(before, piece.narrow(axis, 0, n), weight)
    return torch.cat([head, piece.narrow(axis, n, piece.shape[axis] - n)], dim=axis)
