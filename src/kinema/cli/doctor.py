"""`kinema doctor`: the facts of this machine that decide how kinema runs here, ready for a bug report."""

from __future__ import annotations

import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from kinema import __version__
from kinema.cli.shell import Json, print_json

_PACKAGES: Final = ("torch", "numpy", "pillow", "einops", "safetensors", "av", "soundfile", "typer")
_PEERS: Final = ("transformers", "diffusers", "timm", "open_clip_torch", "torchvision")


def doctor(as_json: Json = False) -> None:
    """Print what a bug report needs: versions, speed, space.

    Nothing in it names you, your machine or your folders.
    """
    facts = examine()
    if as_json:
        print_json(facts)
        return
    for label, value in facts.items():
        print(f"{label.replace('_', ' '):22} {_phrase(value)}")


def examine() -> dict[str, Any]:
    """Gather the facts; takes about a second, most of it the matrix products."""
    import torch

    return {
        "kinema": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": _usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "accelerators": _accelerators(),
        "bfloat16_units": has_bfloat16_units(),
        "matmul_gflops": round(matmul_gflops(), 1),
        "video_libraries": _video_libraries(),
        "h264_encoder": _has_h264(),
        "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "nano_weights": _weights(),
        "packages": _versions(_PACKAGES),
        "peers": _versions(_PEERS) or "none installed (they serve the parity tests alone)",
    }


def has_bfloat16_units() -> bool | None:
    """Whether the processor computes in bfloat16 itself; where it does not, half precision is many times slower."""
    import torch

    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return None


def matmul_gflops(size: int = 1024, seconds: float = 0.4) -> float:
    """Speed of a float32 matrix product on all threads, the best of the repeats that fit into `seconds`."""
    import torch

    a, b = torch.ones(size, size), torch.ones(size, size)
    a @ b  # the first product starts the threads
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _accelerators() -> list[str]:
    import torch

    found = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def _video_libraries() -> str:
    try:
        import av
    except ImportError as error:
        return f"PyAV does not load: {error}"
    libraries = (
        f"{name} {'.'.join(map(str, numbers))}" for name, numbers in sorted(av.library_versions.items())
    )
    return f"PyAV {av.__version__}, " + ", ".join(libraries)


def _has_h264() -> bool:
    try:
        from av.codec import Codec

        return bool(Codec("libx264", "w"))
    except Exception:  # PyAV missing, or its own error for an unknown codec: both mean no
        return False


def _weights() -> dict[str, str]:
    from kinema.hub import MODELS
    from kinema.weights import weights_hash

    return {
        name: weights_hash(entry.nano_path) if entry.nano_path else "not in this copy"
        for name, entry in MODELS.items()
        if entry.nano_weights is not None
    }


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _phrase(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {text}" for name, text in value.items())
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)
