"""How the flow time steers a transformer: its embedding, one shared adaLN projection and a bias per layer.

PixArt's arrangement ("adaLN-single"): the projection from the time embedding to shifts, scales and gates is
shared by all layers, and every layer adds a small learned table of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinema.nn.positions import timestep_sinusoid


class TimestepEmbedding(nn.Module):
    """Flow times (B,) in [0, 1] -> (B, dim): a sinusoid of 1000*t, then Linear, SiLU, Linear."""

    def __init__(self, dim: int, freq_dim: int = 256) -> None:
        super().__init__()
        self.freq_dim = freq_dim
        self.inner = nn.Linear(freq_dim, dim)
        self.outer = nn.Linear(dim, dim)

    def init_weights(self, std: float = 0.02) -> None:
        for layer in (self.inner, self.outer):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, t: Tensor) -> Tensor:
        sinusoid = timestep_sinusoid(t, self.freq_dim).to(self.inner.weight.dtype)
        return self.outer(nn.functional.silu(self.inner(sinusoid)))


class SharedModulation(nn.Module):
    """The projection that all layers share: time embedding (B, D) -> (B, chunks, D). Starts at zero.

    hidden: width of a layer before the projection (SiLU, Linear, SiLU, Linear); None: SiLU, Linear.
    """

    def __init__(self, dim: int, chunks: int = 6, hidden: int | None = None) -> None:
        super().__init__()
        self.chunks = chunks
        self.inner = None if hidden is None else nn.Linear(dim, hidden)
        self.projection = nn.Linear(hidden or dim, chunks * dim)

    def init_weights(self, std: float = 0.02) -> None:
        if self.inner is not None:
            nn.init.normal_(self.inner.weight, std=std)
            nn.init.zeros_(self.inner.bias)
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        if self.inner is not None:
            embedding = self.inner(nn.functional.silu(embedding))
        return self.projection(nn.functional.silu(embedding)).unflatten(1, (self.chunks, -1))


class LayerBias(nn.Module):
    """One layer's part of the modulation: (B, chunks, D) -> chunks x (B, 1, D). Starts as N(0, 1)/sqrt(D)."""

    def __init__(self, dim: int, chunks: int = 6) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(chunks, dim))
        if not self.table.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        nn.init.normal_(self.table, std=self.table.shape[1] ** -0.5)

    def forward(self, modulation: Tensor) -> tuple[Tensor, ...]:
        return (modulation + self.table).unsqueeze(2).unbind(1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Gives x * (1 + scale) + shift, for tokens (B, N, D) and a shift and scale (B, 1, D)."""
    return torch.addcmul(shift, x, 1 + scale)
