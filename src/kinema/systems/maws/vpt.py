"""Visual prompt tuning: a few learned tokens in front of every frozen block, and a linear head (2303.13496, section 4).

The paper compares ways to teach a frozen trunk from a few pictures of each class and finds this one robust.

    tuned = PromptedTransformer(trunk, num_classes=10)
    fit_prompts(tuned, images, labels)          # the trunk stays as it is
    logits = tuned(more)
"""

# B batch, S tokens of the trunk, M prompts, D width, C classes

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn import VisionTransformer
from kinema.train import make_generator


class PromptedTransformer(nn.Module):
    """A frozen trunk with prompts behind its class token, other ones in front of each block: images to (B, C).

    What a block makes of its prompts is thrown away, as in the deep variant of VPT.

    Args:
        trunk: pools by its class token; its parameters are frozen here, and no head of its own is used.
        prompts: tokens in front of each block.
    """

    def __init__(self, trunk: VisionTransformer, num_classes: int, prompts: int = 8) -> None:
        super().__init__()
        if trunk.class_token is None or trunk.pool != "class":
            raise UserError("prompts go behind a class token, and this trunk pools without one")
        if prompts < 1 or num_classes < 1:
            raise UserError(f"prompts={prompts} and num_classes={num_classes}: expected at least one of each")
        self.trunk = trunk.requires_grad_(False)
        self.prompts = nn.Parameter(torch.empty(len(trunk.blocks), prompts, trunk.dim))
        self.head = nn.Linear(trunk.dim, num_classes)
        if not self.prompts.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Prompts uniform in +-sqrt(3 / width), which for ViT-B/16 is VPT's own bound; the head at zero."""
        bound = math.sqrt(3 / self.trunk.dim)
        nn.init.uniform_(self.prompts, -bound, bound)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def features(self, x: Tensor) -> Tensor:
        """The class token behind the last block, normed: (B, D)."""
        tokens = self.trunk.embed(x)  # (B, S, D)
        for block, own in zip(self.trunk.blocks, self.prompts, strict=True):
            own = own.to(tokens.dtype).expand(len(tokens), -1, -1)
            tokens = block(torch.cat([tokens[:, :1], own, tokens[:, 1:]], 1))
            tokens = torch.cat([tokens[:, :1], tokens[:, 1 + own.shape[1] :]], 1)
        return self.trunk.norm(tokens[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def fit_prompts(
    model: PromptedTransformer,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 100,
    batch_size: int = 64,
    lr: float = 5e-3,
    weight_decay: float = 1e-2,
    seed: int = 0,
) -> float:
    """Learn prompts and head from normalised images (N, 3, S, S) and labels (N,); the rate falls as a cosine.

    Returns the cross-entropy of the last batch. Raises UserError where images and labels are not as many.
    """
    if len(images) != len(labels) or not len(labels):
        raise UserError(f"{len(images)} images and {len(labels)} labels: expected as many, at least one")
    optimizer = torch.optim.AdamW((model.prompts, *model.head.parameters()), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = make_generator(seed, "prompts")
    model.eval()  # no stochastic depth in a trunk that stands still
    loss = torch.zeros(())
    for _ in range(steps):
        places = torch.randperm(len(labels), generator=generator)[:batch_size]
        loss = F.cross_entropy(model(images[places]).float(), labels[places])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return float(loss.detach())
