"""Loops over pixels, compiled by numba, which the extra `mesh` brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kinema.errors import UserError

njit: Any = None
try:
    import numba
except ImportError:
    pass
else:
    njit = numba.njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile on the first call and keep the result on disk; without numba, calling it is a UserError."""
    if njit is not None:
        made: Function = njit(cache=True)(function)
        return made

    def missing(*_: Any) -> Any:
        raise UserError("3D photos need the package numba: install it with pip install 'kinema[mesh]'")

    return missing  # type: ignore[return-value]
