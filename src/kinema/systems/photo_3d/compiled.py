"""Loops over pixels, compiled by numba, which the extra `mesh` brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kinema.errors import UserError

try:
    from numba import njit
except ImportError:
    njit = None

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile on the first call and keep the result on disk; without numba, calling it is a UserError."""
    if njit is not None:
        return njit(cache=True)(function)

    def missing(*_: Any) -> Any:
        raise UserError("3D photos need the package numba: install it with pip install 'kinema[mesh]'")

    return missing  # type: ignore[return-value]
