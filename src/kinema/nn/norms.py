"""Root-mean-square normalisation, with its statistics in float32."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _RMSNormalizeCPU(torch.autograd.Function):
    """rms_normalize in few passes over memory: on a CPU PyTorch's own is about 3 times slower."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        y, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(grad, y).unsqueeze(-1).div_(-y.shape[-1])
        return torch.addcmul(grad, y, along).mul_(inverse), None


def rms_normalize(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Gives x / sqrt(mean(x^2) + eps) over the last axis, same shape and dtype, in float32 or better."""
    if x.dtype in (torch.float16, torch.bfloat16):
        return rms_normalize(x.float(), eps).to(x.dtype)
    if x.device.type == "cpu" and x.requires_grad and not torch.compiler.is_compiling():
        return _RMSNormalizeCPU.apply(x, eps)
    return F.rms_norm(x, x.shape[-1:], eps=eps)


class RMSNorm(nn.Module):
    """Affine RMSNorm over the last axis: (..., dim) -> (..., dim)."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def init_weights(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return rms_normalize(x, self.eps) * self.weight.to(x.dtype)

    def modulated(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """forward(x) * (1 + scale) + shift with x (B, N, dim), shift and scale (B, 1, dim), a pass less."""
        gain = (1 + scale) * self.weight
        return torch.addcmul(shift.to(x.dtype), rms_normalize(x, self.eps), gain.to(x.dtype))
