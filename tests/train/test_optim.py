"""Which parameter gets which optimiser, decay and learning rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kinema.errors import UserError
from kinema.train.optim import block_matrices, build_optimizers, set_learning_rate


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(2)])
        self.head = nn.Linear(4, 3)


def names_of(model: nn.Module, group: dict[str, list[torch.Tensor]]) -> set[str]:
    lookup = {parameter: name for name, parameter in model.named_parameters()}
    return {lookup[parameter] for parameter in group["params"]}  # type: ignore[index]


def test_vectors_do_not_decay() -> None:
    model = Net()
    (adamw,) = build_optimizers(model, weight_decay=0.1)
    for group in adamw.param_groups:
        expected = 0.1 if all(parameter.ndim >= 2 for parameter in group["params"]) else 0.0
        assert group["weight_decay"] == expected
    assert sum(len(group["params"]) for group in adamw.param_groups) == len(list(model.parameters()))


def test_muon_takes_the_matrices_of_the_blocks_only() -> None:
    model = Net()
    assert block_matrices(model) == {"blocks.0.0.weight", "blocks.1.0.weight"}
    adamw, muon = build_optimizers(model, optimizer="muon", muon_lr=0.02)
    assert names_of(model, muon.param_groups[0]) == {"blocks.0.0.weight", "blocks.1.0.weight"}
    rest = set().union(*(names_of(model, group) for group in adamw.param_groups))
    assert rest == {name for name, _ in model.named_parameters()} - block_matrices(model)
    assert muon.param_groups[0]["initial_lr"] == 0.02


def test_sgd_is_nesterovs() -> None:
    model = Net()
    (sgd,) = build_optimizers(model, optimizer="sgd", betas=(0.8, 0.95), lr=0.5, weight_decay=0.1)
    assert isinstance(sgd, torch.optim.SGD)
    assert all(group["nesterov"] and group["momentum"] == 0.8 for group in sgd.param_groups)
    assert {group["weight_decay"] for group in sgd.param_groups} == {0.0, 0.1}


def test_lr_scales_and_schedule_factor_multiply() -> None:
    model = Net()
    optimizers = build_optimizers(model, lr=0.1, lr_scales={"head.*": 0.5})
    set_learning_rate(optimizers, 0.25)
    for group in optimizers[0].param_groups:
        is_head = names_of(model, group) <= {"head.weight", "head.bias"}
        assert group["lr"] == pytest.approx(0.1 * 0.25 * (0.5 if is_head else 1.0))


def test_frozen_parameters_are_left_out() -> None:
    model = Net()
    model.embed.requires_grad_(False)
    (adamw,) = build_optimizers(model)
    assert all("embed.weight" not in names_of(model, group) for group in adamw.param_groups)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(UserError, match="no trainable parameter"):
        build_optimizers(nn.Linear(2, 2).requires_grad_(False))
    with pytest.raises(UserError, match="take optimizer='adamw'"):
        build_optimizers(nn.Linear(2, 2), optimizer="muon")
    with pytest.raises(UserError, match=r"'hed\.\*'"):
        build_optimizers(Net(), lr_scales={"hed.*": 0.5})
