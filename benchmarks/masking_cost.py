"""What a step of OmniMAE's pre-training costs by the share of patches that is dropped, beside dropping none.

    python benchmarks/masking_cost.py [--sizes nano vit_b] [--kinds image clip] [--repeats 5] [--out FILE.json]

A step is forward, loss, backward and AdamW, in float32, on the same pixels each time; "encoder" is its forward and
backward alone. The shares take turns in one process; seconds are medians of the processor's time on one thread, so that
other work on the machine counts little. `times` is the cost of dropping none over that of dropping so many (above 1:
faster), in seconds and in counted operations. The decoder predicts every patch: a step saves less than its encoder.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from kinema.data.preprocessing import Preprocessing
from kinema.nn import MaskedAutoencoder
from kinema.systems.omnimae.model import PRESETS, OmniMAEConfig, autoencoder
from kinema.systems.omnimae.objective import draw_keep, reconstruction_loss
from kinema.train.flops import count_flops

from measuring import machine, turns

SHARES = (0.0, 0.5, 0.75, 0.9, 0.95)
BATCH = {"nano": {"image": 64, "clip": 16}}  # others: one


def costs(config: OmniMAEConfig, kind: str, batch: int, repeats: int) -> dict[str, object]:
    """Share -> seconds and operations of a step and of its encoder, and how many times less than without masking."""
    model, preprocessing = autoencoder(config), Preprocessing(size=config.image_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    side = config.image_size
    shape = (batch, 3, side, side) if kind == "image" else (batch, 3, config.frames, side, side)
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    steps, encoders = {}, {}
    kept: dict[str, int] = {}
    for share in SHARES:
        keep = draw_keep(model, pixels, share, torch.Generator().manual_seed(0))
        kept[str(share)] = keep.shape[1]
        steps[str(share)] = training_step(model, pixels, keep, preprocessing, optimizer)
        encoders[str(share)] = encoder_pass(model, pixels, keep)
    rows: dict[str, dict[str, float]] = {share: {"kept": float(count)} for share, count in kept.items()}
    for part, calls in (("step", steps), ("encoder", encoders)):
        seconds = turns(calls, repeats, time.process_time)
        operations = {}
        for share, call in calls.items():
            with count_flops() as counted:
                call()
            operations[share] = counted.total
        for share, row in rows.items():
            row[f"{part}_seconds"] = seconds[share]
            row[f"{part}_times"] = seconds["0.0"] / seconds[share]
            row[f"{part}_operations_times"] = operations["0.0"] / operations[share]
    return {"batch": batch, "tokens": kept["0.0"], "shares": rows}


def training_step(
    model: MaskedAutoencoder,
    pixels: Tensor,
    keep: Tensor,
    preprocessing: Preprocessing,
    optimizer: torch.optim.Optimizer,
) -> Callable[[], None]:
    """Forward, loss, backward and the update; where nothing is dropped the loss is 0, and costs the same."""

    def step() -> None:
        reconstruction_loss(model, pixels, keep, preprocessing).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def encoder_pass(model: MaskedAutoencoder, pixels: Tensor, keep: Tensor) -> Callable[[], None]:
    """The encoder alone, forward and backward."""

    def call() -> None:
        model.encoder.encode(pixels, keep).square().mean().backward()
        model.encoder.zero_grad(set_to_none=True)

    return call


def main() -> None:
    """Measure what the command line asks for, print it as JSON, and keep it with --out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=PRESETS, default=["nano", "vit_b"])
    parser.add_argument("--kinds", nargs="+", choices=["image", "clip"], default=["image", "clip"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    report: dict[str, object] = {
        "machine": machine(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "threads": 1,
    }
    for size in given.sizes:
        config = OmniMAEConfig.preset(size)
        report[size] = {
            kind: costs(config, kind, BATCH.get(size, {}).get(kind, 1), given.repeats) for kind in given.kinds
        }
    text = json.dumps(report, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
