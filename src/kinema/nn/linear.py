"""A linear layer with GELU in the same call, where the machine has one for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# oneDNN's, which torch.compile uses as well; None in a build without it.
_FUSED = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)


def plain(x: Tensor) -> bool:
    """Whether `x` takes PyTorch's own operators: for gradients, under autocast, in a compiler, or not on a CPU."""
    return (
        torch.compiler.is_compiling()
        or x.device.type != "cpu"
        or torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
    )


def linear(x: Tensor, layer: nn.Linear, gelu: bool = False) -> Tensor:
    """layer(x), then GELU by its tanh form if asked for: (..., in) -> (..., out).

    On a CPU in bfloat16, where nothing is differentiated, oneDNN applies bias and GELU while it writes the product:
    that saves a pass over memory, and the result is rounded once instead of twice or three times. In float32 it gains
    nothing over PyTorch's own product.
    """
    if (
        _FUSED is None
        or plain(x)
        or type(layer) is not nn.Linear
        or layer._forward_hooks
        or layer._forward_pre_hooks
        or x.dtype != torch.bfloat16
        or layer.weight.dtype != torch.bfloat16
    ):
        out: Tensor = layer(x)
        return F.gelu(out, approximate="tanh") if gelu else out
    activation: tuple[str, list[float], str] = ("gelu", [], "tanh") if gelu else ("none", [], "")
    fused: Tensor = _FUSED(x, layer.weight, layer.bias, *activation)
    return fused
