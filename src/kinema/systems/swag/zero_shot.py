"""Classes without training: the evidence for hashtags becomes evidence for classes, many to many (2201.08371).

The published classifiers of hashtags were never released; this is for networks of your own. The paper's correction for
the training prior is described in words only, so the formula is ours: log p(tag) - log prior(tag).
"""

# B batch, V hashtags, C classes

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kinema.data.hashtags import Vocabulary
from kinema.errors import UserError
from kinema.vision import VisionFile, read_vision


@dataclass(frozen=True)
class KnownTags:
    """The hashtags that a network predicts, and how probable each was as a target in training: prior (V,)."""

    vocabulary: Vocabulary
    prior: Tensor

    def facts(self) -> dict[str, object]:
        """Plain values for a weight file, beside its labels, which are the tags."""
        prior = [float(f"{share:.4g}") for share in self.prior.tolist()]
        return {"counts": self.vocabulary.counts, "aliases": dict(self.vocabulary.aliases), "prior": prior}

    @classmethod
    def of(cls, path: str | Path) -> KnownTags:
        """Of a weight file that `kinema train swag-nano` wrote.

        Raises UserError where it is no such file, or its labels are classes.
        """
        return cls.from_file(read_vision(path, "swag")[1], str(path))

    @classmethod
    def from_file(cls, about: VisionFile, name: str) -> KnownTags:
        """The same of what stands in the file."""
        try:
            vocabulary = Vocabulary(
                tags=tuple(about.labels["image"]),
                counts=about.facts["counts"],
                aliases=about.facts["aliases"],
            )
            prior = torch.tensor(about.facts["prior"], dtype=torch.float64)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"'{Path(name).name}' does not say how frequent its tags are: it was trained on classes"
            ) from error
        if len(prior) != len(vocabulary):
            raise UserError(f"'{Path(name).name}' has {len(vocabulary)} tags and {len(prior)} shares of them")
        return cls(vocabulary, prior / prior.sum())


@dataclass(frozen=True)
class TagClasses:
    """matrix (V, C): columns add up to 1, or to 0 for classes without a hashtag, which are never predicted."""

    names: tuple[str, ...]
    matrix: Tensor

    @property
    def reachable(self) -> Tensor:
        """Which classes have a hashtag: bool (C,)."""
        return self.matrix.sum(0) > 0


def tag_classes(vocabulary: Vocabulary, classes: Mapping[str, Sequence[str]]) -> TagClasses:
    """Tie the vocabulary to classes by the words that mean them, for instance the lemmas of a synset.

    A hashtag of several classes is shared between them; a class of several hashtags takes their mean.

    Raises:
        UserError: no class has a word in the vocabulary.
    """
    matrix = torch.zeros(len(vocabulary), len(classes))
    for column, words in enumerate(classes.values()):
        for row in vocabulary.encode(words):
            matrix[row, column] = 1.0
    if not bool(matrix.any()):
        raise UserError(
            "none of the words of the classes is a tag of the vocabulary: check how they are written"
        )
    matrix /= matrix.sum(1, keepdim=True).clamp(min=1)
    matrix /= matrix.sum(0).where(matrix.sum(0) > 0, torch.ones(()))
    return TagClasses(tuple(classes), matrix)


def zero_shot(logits: Tensor, classes: TagClasses, prior: Tensor | None = None) -> Tensor:
    """Log scores of the classes, up to a constant: (B, V) -> (B, C); -inf where a class has no hashtag.

    The score is the logarithm of the mean of what the class's hashtags say, p(tag), or p(tag) / prior(tag).

    Args:
        prior: of the hashtags in training (V), see `kinema.data.tag_sampling.tag_prior`; None for no correction.
    """
    if logits.shape[1] != len(classes.matrix):
        raise ValueError(
            f"{logits.shape[1]} logits and {len(classes.matrix)} hashtags: they must be of one network"
        )
    evidence = logits.float().log_softmax(1)
    if prior is not None:
        evidence = evidence - prior.to(evidence).log()
    scores = evidence.new_empty(len(logits), len(classes.names))
    for column, weights in enumerate(classes.matrix.T.to(evidence.device)):
        rows = weights.nonzero()[:, 0]
        scores[:, column] = (
            (evidence[:, rows] + weights[rows].log()).logsumexp(1) if len(rows) else -torch.inf
        )
    return scores
