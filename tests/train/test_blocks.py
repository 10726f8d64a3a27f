"""Compiled blocks: which modules they are, that they compute the same, and what happens without a compiler."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from kinema.train import blocks
from kinema.train.blocks import compile_blocks, repeated_blocks, uncompile_blocks


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner[1](torch.relu(self.inner[0](x)))


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.alone = nn.ModuleList([nn.Linear(8, 8)])
        self.layers = nn.ModuleList(Layer() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.alone[0](x)
        for layer in self.layers:
            x = layer(x)
        return x


def test_only_what_repeats_is_compiled_and_only_the_outermost() -> None:
    model = Stack()
    assert repeated_blocks(model) == list(model.layers)


def test_without_a_compiler_the_blocks_run_as_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blocks, "can_compile", lambda: False)
    model, x = Stack(), torch.randn(2, 8)
    expected = model(x)
    with caplog.at_level(logging.WARNING, logger="kinema"):
        assert compile_blocks(model) == []
        assert all(layer._compiled_call_impl is None for layer in model.layers)
        assert torch.equal(model(x), expected)


@pytest.mark.slow
def test_compiled_blocks_compute_the_same_and_are_plain_again_afterwards() -> None:
    torch.manual_seed(0)
    model, x = Stack(), torch.randn(4, 8)
    model(x).square().sum().backward()
    expected, gradients = model(x), [p.grad.clone() for p in model.parameters() if p.grad is not None]
    names = list(model.state_dict())
    model.zero_grad()
    compiled = compile_blocks(model)
    assert all(layer._compiled_call_impl is not None for layer in model.layers)
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(x), expected)
    model(x).square().sum().backward()
    uncompile_blocks(compiled)
    found = [p.grad for p in model.parameters() if p.grad is not None]
    for gradient, right in zip(found, gradients, strict=True):
        torch.testing.assert_close(gradient, right)
    assert all(layer._compiled_call_impl is None for layer in model.layers)
