"""Trains a text encoder to know what its words look like: from the token states, read back the world's scene.

The nano counterpart of an image-aligned tower such as MetaCLIP. Learned queries attend to the token states, and
heads say which objects, motion, background and camera the caption speaks of and draw a small picture of the subject
and of the background. After training the heads are thrown away; what they needed stays in the states.
"""

# B batch, L tokens, D width, Q queries

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.attention import attention, merge_heads, split_heads
from kinema.text.nano import NanoTextEncoder
from kinema.world import atlas, backgrounds
from kinema.world.scene import BACKGROUNDS, CAMERAS, DIRECTIONS, MOTIONS, Scene

LOOK = 16  # pixels of the subject's small picture
QUERIES = 6


class AlignmentHead(nn.Module):
    """Token states -> attributes and small pictures."""

    def __init__(self, dim: int, num_heads: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.queries = nn.Parameter(torch.randn(QUERIES, dim) * dim**-0.5)
        self.keys = nn.Linear(dim, dim, bias=False)
        self.values = nn.Linear(dim, dim, bias=False)
        objects = len(atlas.artworks())
        sizes = {
            "object": objects,
            "companions": objects,
            "motion": len(MOTIONS),
            "direction": len(DIRECTIONS),
            "background": len(BACKGROUNDS),
            "camera": len(CAMERAS),
            "look": 4 * LOOK * LOOK,
            "place": 3 * 8 * 8,
        }
        self.heads = nn.ModuleDict({name: nn.Linear(QUERIES * dim, size) for name, size in sizes.items()})

    def forward(self, embeds: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """(B, L, D), (B, L) -> one prediction for each head, (B, size)."""
        batch = len(embeds)
        queries = split_heads(self.queries.expand(batch, -1, -1), self.num_heads)
        keys, values = (split_heads(f(embeds), self.num_heads) for f in (self.keys, self.values))
        pooled = merge_heads(attention(queries, keys, values, mask)).flatten(1)  # (B, Q*D)
        return {name: head(pooled) for name, head in self.heads.items()}


class AlignedText(nn.Module):
    """The encoder and its throw-away head, for the training loop."""

    def __init__(self, encoder: NanoTextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = AlignmentHead(encoder.dim)

    def forward(self, captions: Sequence[str]) -> dict[str, Tensor]:
        states = self.encoder.states(captions)
        return self.head(states.embeds, states.mask)


@lru_cache(maxsize=1)
def _places() -> Tensor:
    """A small picture of each kind of background: (kinds, 3*8*8) in [-1, 1]."""
    rows = []
    for kind in BACKGROUNDS:
        canvases = [torch.from_numpy(backgrounds.paint(kind, v, 64)[0]).float() for v in range(4)]
        middle = torch.stack([c[32:96, 96:160] for c in canvases]).mean(0) / 127.5 - 1
        rows.append(F.adaptive_avg_pool2d(middle.permute(2, 0, 1), 8).flatten())
    return torch.stack(rows)


def alignment_loss(
    model: nn.Module, batch: tuple[list[str], list[Scene]], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropies of the attributes and squared errors of the pictures; the generator is not needed."""
    captions, scenes = batch
    said = model(captions)
    names = {
        "object": [s.subject.artwork for s in scenes],
        "motion": [list(MOTIONS).index(s.subject.motion) for s in scenes],
        "direction": [DIRECTIONS.index(s.subject.direction) for s in scenes],
        "background": [BACKGROUNDS.index(s.background) for s in scenes],
        "camera": [CAMERAS.index(s.camera) for s in scenes],
    }
    logs: dict[str, Tensor] = {}
    total = said["look"].new_zeros(())
    for name, labels in names.items():
        target = torch.tensor(labels, device=said[name].device)
        total = total + F.cross_entropy(said[name].float(), target)
        logs[f"{name}_accuracy"] = (said[name].argmax(1) == target).float().mean()
    others = torch.zeros_like(said["companions"], dtype=torch.float32)
    for k, scene in enumerate(scenes):
        for actor in scene.actors[1:]:
            others[k, actor.artwork] = 1.0
    total = total + 20 * F.binary_cross_entropy_with_logits(said["companions"].float(), others)
    looks = atlas.sprites(LOOK)[torch.tensor(names["object"])].flatten(1).to(others.device)
    places = _places()[torch.tensor(names["background"])].to(others.device)
    look_error = (said["look"].float() - looks).square().mean()
    total = total + 20 * look_error + 5 * (said["place"].float() - places).square().mean()
    return total, logs | {"look_error": look_error.detach()}
