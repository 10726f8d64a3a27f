"""The moving average against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kinema.train import EMA


def test_closed_form_with_warmup() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    ema = EMA(model, decay=0.3)
    values = [1.0, -2.0, 5.0, 4.0]
    expected = 0.0
    for n, value in enumerate(values):
        nn.init.constant_(model.weight, value)
        decay = min(0.3, (1 + n) / (10 + n))
        assert ema.current_decay() == decay
        expected = decay * expected + (1 - decay) * value
        ema.update(model)
    assert ema.shadow["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_constant_weights_are_their_own_average() -> None:
    model = nn.Linear(3, 3)
    ema = EMA(model, 0.999)
    for _ in range(20):
        ema.update(model)
    assert torch.equal(ema.shadow["weight"], model.weight)


def test_applied_to_gives_the_weights_back_even_after_an_error() -> None:
    model = nn.Linear(2, 2)
    ema = EMA(model, 0.9)
    own = model.weight.detach().clone()
    ema.shadow["weight"].zero_()

    def fail_inside() -> None:
        with ema.applied_to(model):
            assert not model.weight.any()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert torch.equal(model.weight, own)


def test_average_is_kept_in_float32_for_half_weights() -> None:
    model = nn.Linear(2, 2).bfloat16()
    ema = EMA(model, 0.9)
    ema.update(model)
    assert ema.shadow["weight"].dtype == torch.float32


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_bad_decay_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        EMA(nn.Linear(1, 1), decay)
