"""kinema: media foundation models that a person can read, run on a laptop, and grow onto a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kinema.hub import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `import kinema` must stay free of torch.
    if name == "load":
        from kinema.hub import load

        return load
    raise AttributeError(f"module 'kinema' has no attribute {name!r}")
