"""How long the first two stages of MAWS take, and what they are measured by while they run."""

from __future__ import annotations

import dataclasses
from typing import Final

from torch import nn

from kinema.data.hashtags import Vocabulary
from kinema.data.preprocessing import Preprocessing
from kinema.data.tagged import TaggedPictures, whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Batch, rates and steps of the two stages; those of the paper count one epoch of 3 and 5 billion pictures."""

    masked_batch: int = 4096
    masked_lr: float = 2.4e-3
    masked_steps: int = 730_000
    tags_batch: int = 8192
    tags_lr: float = 4e-4
    tags_decay: float = 0.1
    tags_steps: int = 610_000


NANO: Final = Plan(
    masked_batch=64,
    masked_lr=1e-3,
    masked_steps=2000,
    tags_batch=64,
    tags_lr=1e-3,
    tags_decay=0.05,
    tags_steps=4600,
)


def right_first(
    model: nn.Module, held: TaggedPictures, vocabulary: Vocabulary, preprocessing: Preprocessing
) -> dict[str, float]:
    """The share of held-out pictures whose first tag is one of their own, and that of the commonest tag."""
    images = whole(held.read(range(len(held))), preprocessing).to(next(model.parameters()).device)
    first = model(images).argmax(1).tolist()
    right = [vocabulary.encode(words) for words in held.words]
    common = max(range(len(vocabulary)), key=lambda tag: sum(tag in words for words in right))
    return {
        "first_tag_right": sum(tag in words for tag, words in zip(first, right, strict=True)) / len(right),
        "most_common_right": sum(common in words for words in right) / len(right),
    }
