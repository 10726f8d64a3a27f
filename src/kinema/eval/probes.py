"""What frozen features know: a linear classifier on all labels or on a few of each class, and neighbours that vote.

    accuracy = linear_probe(train_features, train_labels, test_features, test_labels)
    five_shot = few_shot(features, labels, test_features, test_labels, shots=5)   # mean over random choices
    accuracy = knn(train_features, train_labels, test_features, test_labels, k=20)

The linear classifier is multinomial logistic regression with an L2 penalty, solved to convergence, so that no learning
rate enters a comparison. Features are standardised first, by the training part alone.
"""

# N samples, D width of features, C classes

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError
from kinema.eval.neighbours import nearest, vote

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
STEPS = 200  # of L-BFGS at most


@dataclass(frozen=True)
class LinearClassifier:
    """Standardise, then weights (C, D) and biases (C,)."""

    mean: Tensor
    std: Tensor
    weights: Tensor
    biases: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, C)."""
        return ((features.float() - self.mean) / self.std) @ self.weights.T + self.biases


def fit_linear(
    features: Tensor, labels: Tensor, penalty: float, num_classes: int | None = None
) -> LinearClassifier:
    """Minimise mean cross-entropy + penalty / 2 * |weights|^2; biases are free. The same every time.

    Raises:
        UserError: features and labels do not belong together, or there are fewer than two classes.
    """
    _check(features, labels)
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    if classes < 2:
        raise UserError("a linear probe needs at least two classes")
    features = features.detach().float()
    mean, std = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
    inputs = (features - mean) / std
    basis = None
    if len(inputs) < inputs.shape[1]:  # the solution lies in the span of the samples: solve there
        basis = torch.linalg.svd(inputs, full_matrices=False).Vh  # (N, D)
        inputs = inputs @ basis.T
    weights = torch.zeros(classes, inputs.shape[1], requires_grad=True)
    biases = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weights, biases], max_iter=STEPS, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-5
    )

    def objective() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(inputs @ weights.T + biases, labels) + penalty / 2 * weights.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        solver.step(objective)
    solved = weights.detach() if basis is None else weights.detach() @ basis
    return LinearClassifier(mean, std, solved, biases.detach())


def linear_probe(
    features: Tensor,
    labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
) -> float:
    """Accuracy on the test part; the penalty is the one that is best on a fifth of the training part, held out."""
    return accuracy(best_linear(features, labels, penalties, seed).logits(test_features), test_labels)


def best_linear(
    features: Tensor, labels: Tensor, penalties: Sequence[float] = PENALTIES, seed: int = 0
) -> LinearClassifier:
    """The linear classifier of all of `features`, its penalty chosen on a random fifth that was left out."""
    _check(features, labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    held, kept = order[: max(1, len(order) // 5)], order[max(1, len(order) // 5) :]
    classes = int(labels.max()) + 1
    scores = [
        accuracy(
            fit_linear(features[kept], labels[kept], penalty, classes).logits(features[held]), labels[held]
        )
        for penalty in penalties
    ]
    return fit_linear(features, labels, penalties[scores.index(max(scores))], classes)


def few_shot(
    features: Tensor,
    labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    shots: int = 5,
    splits: int = 5,
    penalty: float = 1e-2,
    seed: int = 0,
) -> float:
    """Accuracy of a linear classifier of `shots` samples a class, mean over so many random choices of them.

    Raises:
        UserError: a class has fewer samples than `shots`.
    """
    found = []
    for split in range(splits):
        places = chosen(labels, shots, seed * 1000 + split)
        classifier = fit_linear(features[places], labels[places], penalty)
        found.append(accuracy(classifier.logits(test_features), test_labels))
    return statistics.fmean(found)


def chosen(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Places of `shots` random samples of every class that occurs: int64."""
    generator = torch.Generator().manual_seed(seed)
    places = []
    for label in labels.unique().tolist():
        own = (labels == label).nonzero()[:, 0]
        if len(own) < shots:
            raise UserError(f"class {label} has {len(own)} samples, and {shots} of each are asked for")
        places.append(own[torch.randperm(len(own), generator=generator)[:shots]])
    return torch.cat(places)


def knn(features: Tensor, labels: Tensor, test_features: Tensor, test_labels: Tensor, k: int = 20) -> float:
    """Accuracy where the k nearest by cosine vote, each with exp(similarity / 0.07)."""
    _check(features, labels)
    found = nearest(test_features, features, min(k, len(features)))
    return accuracy(vote(found, labels, int(labels.max()) + 1), test_labels)


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """The share of rows (N, C) whose largest number is that of the label."""
    return float((scores.argmax(1) == labels).float().mean())


def _check(features: Tensor, labels: Tensor) -> None:
    if features.ndim != 2 or len(features) != len(labels) or not len(labels):
        raise UserError(
            f"features {tuple(features.shape)} and labels {tuple(labels.shape)} must be N rows and N numbers"
        )
