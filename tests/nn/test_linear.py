"""The linear layer with GELU in the same call is the layer and its GELU, whatever path it takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kinema.nn.attention import attention
from kinema.nn.linear import linear


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_it_is_the_layer_and_its_gelu(gelu: bool, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(40, 24), torch.randn(2, 7, 40).to(dtype).float()
    layer.weight.data = layer.weight.data.to(dtype).float()
    layer.bias.data = layer.bias.data.to(dtype).float()
    exact = F.linear(x.double(), layer.weight.double(), layer.bias.double())
    exact = F.gelu(exact, approximate="tanh") if gelu else exact
    layer.to(dtype)
    with torch.inference_mode():
        quick = linear(x.to(dtype), layer, gelu)
    plain = linear(x.to(dtype), layer, gelu)  # gradients are on
    for out in (quick, plain):
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), exact, rtol=tolerance, atol=tolerance)
    assert plain.requires_grad


def test_hooks_and_other_kinds_of_layers_are_called() -> None:
    class Double(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    torch.manual_seed(0)
    x, twice, hooked = torch.randn(3, 8), Double(8, 4), nn.Linear(8, 4)
    hooked.register_forward_hook(lambda module, inputs, output: output + 100)
    with torch.inference_mode():
        for layer in (twice, hooked):
            torch.testing.assert_close(linear(x, layer, gelu=True), F.gelu(layer(x), approximate="tanh"))


@pytest.mark.parametrize("keys", [3, 600])  # written out or not, as `attention` chooses
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_can_be_added_to_the_scores(keys: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 16).to(dtype).double() for n in (5, keys, keys))
    bias = torch.randn(2, keys)
    weights = (q @ k.mT / 4 + bias[:, None, None].double()).softmax(-1)
    with torch.inference_mode():
        out = attention(q.to(dtype), k.to(dtype), v.to(dtype), bias)
    assert out.dtype == dtype
    torch.testing.assert_close(
        out.double(), weights @ v, rtol=0, atol=1e-5 if dtype == torch.float32 else 2e-2
    )
