"""Nearest neighbours across kinds: features of images, clips and depth maps lie in one space (2201.08377, section 4.3).

Nobody told the network which picture belongs to which depth map; that neighbours agree is what joint training gives.
"""

# Q queries, G entries of the gallery, D width of features, k neighbours

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError

TEMPERATURE = 0.07  # of the votes


@dataclass(frozen=True)
class Neighbours:
    """indices (Q, k) into the gallery, the nearest first, and their cosine similarities (Q, k)."""

    indices: Tensor
    similarity: Tensor


def nearest(queries: Tensor, gallery: Tensor, k: int, block: int = 4096) -> Neighbours:
    """The k entries of the gallery (G, D) most like each query (Q, D).

    Vectors are brought to length 1 first; then distance and cosine order neighbours alike. The gallery is gone through
    in blocks, so that memory does not grow with Q*G.

    Raises:
        UserError: the gallery has fewer than k entries, or the widths differ.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise UserError(
            f"queries {tuple(queries.shape)} and gallery {tuple(gallery.shape)} must be tables of features of one width"
        )
    if not 1 <= k <= len(gallery):
        raise UserError(f"k={k} neighbours of a gallery of {len(gallery)}: choose 1 to {len(gallery)}")
    queries = F.normalize(queries.float(), dim=1)
    best = queries.new_empty(len(queries), 0)
    where = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    for start in range(0, len(gallery), block):
        part = F.normalize(gallery[start : start + block].float(), dim=1)
        likeness = torch.cat([best, queries @ part.T], 1)
        places = torch.arange(start, start + len(part), device=queries.device).expand(len(queries), -1)
        best, chosen = likeness.topk(min(k, likeness.shape[1]), 1)
        where = torch.cat([where, places], 1).gather(1, chosen)
    return Neighbours(where, best)


def vote(found: Neighbours, labels: Tensor, num_classes: int, temperature: float = TEMPERATURE) -> Tensor:
    """What the neighbours' labels (G,) say of each query: shares (Q, num_classes), neighbour i with exp(s_i / t)."""
    weights = (found.similarity / temperature).softmax(1)
    return weights.new_zeros(len(weights), num_classes).scatter_add_(1, labels[found.indices], weights)


def precision(found: Neighbours, query_labels: Tensor, gallery_labels: Tensor) -> float:
    """The share of neighbours that have the query's label: precision@k, mean over queries."""
    return float((gallery_labels[found.indices] == query_labels[:, None]).float().mean())
