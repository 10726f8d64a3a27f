"""Hashtags tied to classes, with and without the correction for the training prior."""

from __future__ import annotations

import pytest
import torch

from kinema.data.hashtags import Vocabulary
from kinema.errors import UserError
from kinema.systems.swag.zero_shot import tag_classes, zero_shot

VOCABULARY = Vocabulary(tags=("animal", "dog", "puppy", "cat"), counts=(90, 30, 20, 10))
CLASSES = {"a dog": ["Dogs", "puppy"], "a cat": ["#cat", "animal"], "a pet": ["animal"], "a car": ["car"]}


def test_shared_hashtags_and_means():
    classes = tag_classes(VOCABULARY, CLASSES)
    # animal is shared by two classes and counts half for each, before every class takes a mean
    want = [[0, 1 / 3, 1, 0], [0.5, 0, 0, 0], [0.5, 0, 0, 0], [0, 2 / 3, 0, 0]]
    torch.testing.assert_close(classes.matrix, torch.tensor(want))
    assert classes.names == tuple(CLASSES)
    assert classes.reachable.tolist() == [True, True, True, False]


def test_scores_are_the_logarithm_of_the_mean():
    classes = tag_classes(VOCABULARY, CLASSES)
    logits = torch.randn(5, 4)
    p = logits.softmax(1)
    got = zero_shot(logits, classes)
    torch.testing.assert_close(got[:, :3].exp(), p @ classes.matrix[:, :3])
    assert (got[:, 3] == -torch.inf).all()
    assert (got.argmax(1) != 3).all()
    prior = torch.tensor([0.6, 0.2, 0.1, 0.1])
    torch.testing.assert_close(
        zero_shot(logits, classes, prior)[:, :3].exp(), (p / prior) @ classes.matrix[:, :3]
    )


def test_the_correction_finds_rare_classes_under_a_frequent_one():
    """Evidence that an image of class c adds to a prior: without the correction the frequent tag wins."""
    prior = torch.tensor([0.9, 0.05, 0.04, 0.01])
    classes = tag_classes(VOCABULARY, {name: [name] for name in VOCABULARY.tags})
    evidence = torch.eye(4) * 1.5
    logits = prior.log() + evidence
    assert zero_shot(logits, classes).argmax(1).tolist() == [0, 0, 0, 0]
    assert zero_shot(logits, classes, prior).argmax(1).tolist() == [0, 1, 2, 3]


def test_what_cannot_be_tied():
    with pytest.raises(UserError, match="none of the words"):
        tag_classes(VOCABULARY, {"a car": ["car"]})
    with pytest.raises(ValueError, match="of one network"):
        zero_shot(torch.zeros(1, 3), tag_classes(VOCABULARY, CLASSES))
