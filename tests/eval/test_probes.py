"""Probes against scikit-learn's solution, and against what must come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.eval.probes import accuracy, chosen, few_shot, fit_linear, knn, linear_probe


def blobs(count=120, classes=3, apart=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 5, generator=torch.Generator().manual_seed(1)) * apart
    labels = torch.arange(count) % classes
    return centres[labels] + torch.randn(count, 5, generator=generator) * torch.tensor(
        [1.0, 2, 3, 4, 50]
    ), labels


@pytest.mark.parametrize("count", [120, 4])  # more samples than features, and fewer
def test_the_classifier_is_the_one_that_scikit_learn_finds(count):
    linear = pytest.importorskip("sklearn.linear_model")
    features, labels = blobs(count)
    penalty = 0.03
    ours = fit_linear(features, labels, penalty)
    inputs = ((features - features.mean(0)) / features.std(0, correction=0)).double().numpy()
    theirs = linear.LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-10, max_iter=10_000).fit(
        inputs, labels
    )
    want = theirs.predict_proba(inputs)
    np.testing.assert_allclose(ours.logits(features).softmax(1).numpy(), want, atol=2e-4)


def test_separate_classes_are_found_and_random_labels_are_not():
    features, labels = blobs(apart=6.0)
    test_features, test_labels = blobs(apart=6.0, seed=2)
    assert linear_probe(features, labels, test_features, test_labels) > 0.9
    assert few_shot(features, labels, test_features, test_labels, shots=10) > 0.6
    assert knn(features[:, :4], labels, test_features[:, :4], test_labels, k=5) > 0.85
    noise = torch.randn(300, 5, generator=torch.Generator().manual_seed(3))
    free = torch.randint(3, (300,), generator=torch.Generator().manual_seed(4))
    assert linear_probe(noise[:150], free[:150], noise[150:], free[150:]) < 0.5


def test_a_probe_is_the_same_every_time_and_leaves_the_global_seed_alone():
    features, labels = blobs()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = few_shot(features, labels, features, labels, shots=3)
    assert torch.equal(before, torch.get_rng_state())
    assert few_shot(features, labels, features, labels, shots=3) == first
    assert few_shot(features, labels, features, labels, shots=3, seed=1) != first


def test_shots_are_of_every_class_and_differ_between_choices():
    labels = torch.tensor([0] * 10 + [2] * 4)
    places = chosen(labels, 4, seed=0)
    assert torch.bincount(labels[places]).tolist() == [4, 0, 4]
    assert sorted(places.tolist()) != sorted(chosen(labels, 4, seed=1).tolist())
    with pytest.raises(UserError, match="class 2 has 4 samples, and 5"):
        chosen(labels, 5, seed=0)


def test_what_does_not_belong_together_is_refused():
    features, labels = blobs()
    for wrong in (
        lambda: fit_linear(features, labels[:-1], 0.1),
        lambda: fit_linear(features, labels * 0, 0.1),
    ):
        with pytest.raises(UserError):
            wrong()
    assert accuracy(torch.eye(3), torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)
