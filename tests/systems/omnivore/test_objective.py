"""Joint batches, the loss of one head, and neighbours across kinds."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from kinema.errors import UserError
from kinema.eval.neighbours import nearest, precision, vote
from kinema.systems.omnivore.model import PRESETS, Omnivore
from kinema.systems.omnivore.objective import (
    Batch,
    batch_order,
    drop_colours,
    joint_loss,
    learning_rate,
    repeated,
    weight_decay_groups,
)
from kinema.train.mixing import smooth_targets


def test_factors_repeat_batches_in_a_shuffled_order():
    order = batch_order([20, 3, 7], [1, 4, 2.5], epoch=0)
    assert repeated([20, 3, 7], [1, 4, 2.5]) == [20, 12, 17]
    assert Counter(number for number, _ in order) == {0: 20, 1: 12, 2: 17}
    small = [batch for number, batch in order if number == 1]
    assert small == [0, 1, 2] * 4
    turns = [number for number, _ in order]
    assert turns != sorted(turns)
    assert order == batch_order([20, 3, 7], [1, 4, 2.5], epoch=0)
    assert turns != [number for number, _ in batch_order([20, 3, 7], [1, 4, 2.5], epoch=1)]
    assert turns != [number for number, _ in batch_order([20, 3, 7], [1, 4, 2.5], epoch=0, seed=1)]


def test_data_sets_that_would_supply_nothing():
    for batches, repeats in (([5, 5], [1]), ([5, 0], [1, 1]), ([5, 5], [1, 0.1]), ([5], [-1])):
        with pytest.raises(UserError):
            batch_order(batches, repeats, epoch=0)


def test_the_loss_is_that_of_the_batches_own_head():
    torch.manual_seed(0)
    network = Omnivore(PRESETS["nano"]).eval()
    pixels, labels = torch.randn(4, 4, 1, 16, 16), torch.tensor([3, 18, 0, 3])
    loss, logs = joint_loss(network, Batch("rgbd", pixels, smooth_targets(labels, 19)))
    want = torch.nn.functional.cross_entropy(network(pixels, "rgbd"), labels, label_smoothing=0.1)
    torch.testing.assert_close(loss, want)
    assert set(logs) == {"rgbd/loss", "rgbd/top1"}
    loss.backward()
    assert network.heads["rgbd"][1].weight.grad is not None
    assert network.heads["image"][1].weight.grad is None
    with pytest.raises(ValueError, match="the head for image"):
        joint_loss(network, Batch("image", pixels[:, :3], smooth_targets(labels, 19)))


def test_colours_go_together_and_disparity_stays():
    generator = torch.Generator().manual_seed(0)
    rgbd = torch.ones(400, 4, 1, 2, 2)
    out = drop_colours(rgbd, generator)
    assert out[:, 3].all()
    kept = out[:, :3].flatten(1)
    assert ((kept == 0).all(1) | (kept == 1).all(1)).all()
    assert float(kept.mean()) == pytest.approx(0.5, abs=0.08)
    assert rgbd.all()  # what came in is as it was


def test_the_rate_of_the_public_configuration():
    rates = [learning_rate(share) for share in (0, 0.05, 0.1, 0.5, 0.9, 1.0, 2.0)]
    assert rates == pytest.approx([2e-6, 1.001e-3, 2e-3, 1.1e-3, 2e-4, 1e-6, 1e-6])


def test_offsets_norms_and_biases_do_not_decay():
    network = Omnivore(PRESETS["nano"])
    decaying, still = weight_decay_groups(network)
    assert (decaying["weight_decay"], still["weight_decay"]) == (0.05, 0.0)
    assert len(decaying["params"]) + len(still["params"]) == len(list(network.parameters()))
    block = network.trunk.stages[0].blocks[0]
    assert any(p is block.attention.offsets for p in still["params"])
    assert any(p is block.attention.qkv.weight for p in decaying["params"])
    assert any(p is network.rgb.proj.weight for p in decaying["params"])
    assert any(p is network.trunk.norm.weight for p in still["params"])


def test_a_joint_step_learns_from_all_kinds():
    """Three kinds in turn through one trunk: the loss of each falls."""
    torch.manual_seed(0)
    network = Omnivore(PRESETS["nano"])
    labels = torch.arange(4)
    batches = {
        "image": Batch("image", torch.randn(4, 3, 1, 8, 8), smooth_targets(labels, 1000)),
        "rgbd": Batch("rgbd", torch.randn(4, 4, 1, 8, 8), smooth_targets(labels, 19)),
        "video": Batch("video", torch.randn(4, 3, 4, 8, 8), smooth_targets(labels, 400)),
    }
    optimiser = torch.optim.AdamW(weight_decay_groups(network), lr=3e-3)
    first, last = {}, {}
    kinds = list(batches)
    for number, _ in batch_order([10, 10, 10], [1, 1, 1], epoch=0):
        loss, _ = joint_loss(network, batches[kinds[number]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first.setdefault(kinds[number], float(loss.detach()))
        last[kinds[number]] = float(loss.detach())
    assert all(last[kind] < first[kind] for kind in kinds)


# -- neighbours -------------------------------------------------------------------------------------------


def test_neighbours_are_those_of_all_distances():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(9, 6, generator=generator), torch.randn(50, 6, generator=generator)
    found = nearest(queries, gallery, 7, block=16)
    unit = [table / table.norm(dim=1, keepdim=True) for table in (queries, gallery)]
    distances = torch.cdist(*unit)
    order = distances.argsort(1)[:, :7]
    assert torch.equal(found.indices, order)
    torch.testing.assert_close(found.similarity, 1 - distances.gather(1, order) ** 2 / 2, atol=1e-5, rtol=0)


def test_votes_and_precision():
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([2, 2, 1, 0])
    found = nearest(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), gallery, 2)
    assert found.indices.tolist() == [[0, 1], [2, 1]]
    shares = vote(found, labels, 3)
    assert shares.argmax(1).tolist() == [2, 1]
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    s = found.similarity[1] / 0.07
    assert float(shares[1, 1]) == pytest.approx(float(torch.exp(s[0]) / torch.exp(s).sum()))
    assert precision(found, torch.tensor([2, 1]), labels) == 0.75


def test_galleries_that_cannot_answer():
    with pytest.raises(UserError, match="choose 1 to 3"):
        nearest(torch.ones(2, 4), torch.ones(3, 4), 4)
    with pytest.raises(UserError, match="of one width"):
        nearest(torch.ones(2, 4), torch.ones(3, 5), 1)
