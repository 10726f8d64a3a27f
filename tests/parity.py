"""Peers that kinema is held against: import them if they are there, and compare with a readable failure."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

_LIBRARIES: list[torch.library.Library] = []  # a registration lives as long as its library object


def shim_torchvision() -> None:
    """Make torchvision importable beside a torch that its C++ operators were not built for.

    A torchvision that fails half way is worse than none: transformers and diffusers stumble over it. The
    operators that it registers fake versions for are declared, and it then imports; calling them still fails.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        _LIBRARIES.append(library)
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")


def peer(name: str) -> ModuleType:
    """Import a peer library, or skip the test where it is not installed."""
    shim_torchvision()
    module: ModuleType = pytest.importorskip(name)
    return module


def assert_parity(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    """Equal to within `tolerance`. Prints the largest and the mean difference: `pytest -rP` shows them."""
    assert ours.shape == theirs.shape, (
        f"shapes differ: ours {tuple(ours.shape)}, theirs {tuple(theirs.shape)}"
    )
    difference = (ours.double() - theirs.double()).abs()
    largest, mean = difference.max().item(), difference.mean().item()
    measured = f"largest difference {largest:.3g}, mean {mean:.3g}, allowed {tolerance:.3g}"
    print(measured)
    assert largest <= tolerance, measured
