"""Attention: one function over PyTorch's scaled dot product, the cutting of a width into heads, and a layer of both."""

# B batch, H heads, N queries, L keys, D width, d head width

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.norms import RMSNorm
from kinema.nn.positions import Rotary, turn_pairs

# Up to so many keys a CPU with half precision units is faster when the scores are written out (and 1.8 times
# faster when the block is compiled); beyond it their memory counts.
EXPLICIT_KEYS = 512
# Whether the CPU multiplies bfloat16 matrices in tiles (AMX): PyTorch's fused kernel is then 4 times as fast as in
# float32; elsewhere it is several times slower.
TILES = torch.cpu._is_amx_tile_supported()


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention, (B, H, N, d) over keys and values (B, H, L, d) -> (B, H, N, d).

    Args:
        mask: None (every key is seen), or bool where True means "may be seen", or float32 to add to the scores:
            (B, L) over the keys, or anything of four axes that broadcasts to (B, H, N, L). What a query gets
            that may see no key depends on the backend: the caller keeps one visible.
    """
    if mask is not None and mask.ndim == 2:
        mask = mask[:, None, None, :]
    if q.device.type == "cpu" and q.dtype in (torch.float16, torch.bfloat16):
        added = mask is not None and mask.dtype != torch.bool
        if k.shape[2] <= EXPLICIT_KEYS and not added:
            return _explicit(q, k, v, mask)
        with torch.autocast("cpu", enabled=False):
            if TILES and q.dtype == torch.bfloat16 and not torch.is_grad_enabled():
                return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _explicit(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The scores written out: two matrix products in half precision and a softmax in float32 between them."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores.float(), -1).to(v.dtype) @ v


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, H*d) -> (B, H, N, d), a view."""
    return x.unflatten(2, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, N, d) -> (B, N, H*d); a view of what SDPA gives."""
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """Full attention of tokens to a source: the tokens themselves, or a text whose keys and values stay the same.

    qk_norm: RMS-normalise queries and keys per head.
    """

    def __init__(self, dim: int, num_heads: int, qk_norm: bool = False, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(dim, dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.q_norm = RMSNorm(dim // num_heads, norm_eps) if qk_norm else nn.Identity()
        self.k_norm = RMSNorm(dim // num_heads, norm_eps) if qk_norm else nn.Identity()

    def keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, D) -> keys and values (B, H, L, d); the keys are not turned by positions yet."""
        keys = self.k_norm(split_heads(self.k(source), self.num_heads))
        return keys, split_heads(self.v(source), self.num_heads)

    def forward(
        self,
        x: Tensor,  # (B, N, D)
        keys: Tensor,  # (B, H, L, d), values too
        values: Tensor,
        mask: Tensor | None = None,  # (B, L)
        positions: Rotary | None = None,  # of the queries, which are then those of the keys
    ) -> Tensor:  # (B, N, D)
        q = self.q_norm(split_heads(self.q(x), self.num_heads))
        if positions is not None:
            q, keys = turn_pairs(q, positions), turn_pairs(keys, positions)
        return self.out(merge_heads(attention(q, keys, values, mask)))
