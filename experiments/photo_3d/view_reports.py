"""Command lines, tables, JSON and strips of pictures of the experiments on 3D photos."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from kinema.errors import UserError
from kinema.systems.photo_3d.inpainting import WEIGHTS, Farbrausch, load_inpainting

FOLDER = Path(__file__).resolve().parent
HELP = {
    "weights": "a depth network to take as well",
    "inpainting": "an inpainting network, in place of the package's",
}


def arguments(description: str | None, *files: str) -> argparse.Namespace:
    """The command line: --quick, --out, and options that take a file; one thread."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small and few: does it run at all")
    parser.add_argument("--out", type=Path, help="folder for what it writes, in place of the repository's")
    for name in files:
        parser.add_argument(f"--{name}", type=Path, help=HELP[name])
    torch.set_num_threads(1)
    return parser.parse_args()


def inpainting_network(given: argparse.Namespace) -> Farbrausch:
    """The network of --inpainting, else the package's; --quick does with an untrained one."""
    if given.inpainting is not None or WEIGHTS.is_file():
        return load_inpainting(given.inpainting or WEIGHTS)
    if not given.quick:
        raise UserError("this copy of kinema has no inpainting weights: give some with --inpainting FILE")
    return Farbrausch().eval()


def markdown(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """A table, one row an arm."""
    names = list(next(iter(rows.values())))
    lines = [f"| {title} |" + "".join(f" {name} |" for name in names), "|---|" + "---|" * len(names)]
    for arm, row in rows.items():
        cells = (f" {row[n]:.3f} |" if n.startswith("SSIM") else f" {row[n]:.2f} |" for n in names)
        lines.append(f"| {arm} |" + "".join(cells))
    return "\n".join(lines)


def write(name: str, given: argparse.Namespace, cpu_seconds: float, result: Mapping[str, Any]) -> None:
    """NAME.json among the results, with what ran where and when."""
    head = {
        "cpu_seconds": round(cpu_seconds, 1),
        "threads": torch.get_num_threads(),
        "quick": given.quick,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    folder = given.out or FOLDER / "results"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded(head | dict(result)), indent=1)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def strip(
    name: str, given: argparse.Namespace, pictures: Mapping[str, np.ndarray], box: tuple[int, ...]
) -> None:
    """NAME.webp among the documentation's images: the same part of every picture, side by side, with its name."""
    left, top, right, bottom = box
    width, height, line = right - left, bottom - top, 20
    sheet = Image.new("RGB", (len(pictures) * (width + 4) - 4, height + line), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (label, picture) in enumerate(pictures.items()):
        at = number * (width + 4)
        sheet.paste(Image.fromarray(picture[top:bottom, left:right]), (at, line))
        draw.text((at + 2, 2), label, "black", font=ImageFont.load_default(13))
    folder = given.out or FOLDER.parents[1] / "docs" / "images" / "photo_3d"
    folder.mkdir(parents=True, exist_ok=True)
    sheet.save(folder / f"{name}.webp", quality=88, method=6)


def _rounded(value: Any) -> Any:
    """Floats to five digits, all the way down."""
    if isinstance(value, Mapping):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
