"""Locked-image tuning: a text tower learns to name what a frozen trunk sees (2303.13496, section 4).

model = clip.build(config, WordTokens(captions))
model.vision.load_state_dict(trained.state_dict())
run_stages([lit_stage(model, batches, steps=500, batch_size=64)], out)
"""

# B batch, D width of the trunk

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from torch import Tensor, nn

from kinema.errors import UserError
from kinema.systems.maws.clip import MAX_TOKENS, MawsClip
from kinema.systems.maws.objective import contrastive_loss
from kinema.text.xlmr import END, START, UNKNOWN
from kinema.train import BatchIndex, Stage

LARGEST_SCALE: Final = 100.0  # of the products: beyond it training does not settle
_WORD: Final = re.compile(r"[^\W_]+")


class WordTokens:
    """Every word a token: for small text towers that are trained from nothing on captions of one's own.

    Args:
        captions: whose words are known, the most frequent first. size: embeddings of the text tower.
    """

    def __init__(self, captions: Iterable[str], size: int) -> None:
        counts = Counter(word for caption in captions for word in _WORD.findall(caption.lower()))
        words = sorted(counts, key=lambda word: (-counts[word], word))[: size - UNKNOWN - 1]
        self.numbers = {word: UNKNOWN + 1 + place for place, word in enumerate(words)}

    def __call__(self, text: str, limit: int) -> list[int]:
        ids = [self.numbers.get(word, UNKNOWN) for word in _WORD.findall(text.lower())]
        return [START, *ids[: max(limit - 2, 0)], END][:limit]


def lit_loss(
    model: nn.Module, batch: tuple[Tensor, Sequence[str]], generator: object
) -> tuple[Tensor, dict[str, Tensor]]:
    """InfoNCE between what the frozen trunk gave for pictures, (B, D), and their captions. No generator is needed."""
    if not isinstance(model, MawsClip):
        raise TypeError("locked-image tuning trains a MawsClip")
    seen, captions = batch
    images = nn.functional.normalize(seen @ model.vision_projection, dim=1)
    texts = model.text_embeds(*model.text.tokens(captions, MAX_TOKENS))
    scale = model.logit_scale.exp().clamp(max=LARGEST_SCALE)
    loss = contrastive_loss(images, texts, scale)
    return loss, {"contrast": loss.detach(), "scale": scale.detach()}


def lit_stage(
    model: MawsClip,
    batches: Callable[[BatchIndex], tuple[Tensor, Sequence[str]]],
    *,
    steps: int,
    batch_size: int,
    lr: float = 1e-3,
) -> Stage:
    """The text tower, both projections and the scale learn; the image tower is locked.

    Args:
        batches: what `model.vision.features` gave for pictures, computed once since it does not change, and one
            caption for each.
    """
    if batch_size < 2:
        raise UserError(f"batch_size={batch_size}: a caption is told from others of its batch, so at least 2")
    model.vision.requires_grad_(False)
    return Stage(
        name="lit",
        model=model,
        loss=lit_loss,
        batches=batches,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        weight_decay=0.05,
        schedule="cosine",
        warmup_steps=min(50, steps // 2),
        checkpoint_every=steps,
    )
