"""Does a training step take as long as `kinema plan` says? Predicted against measured, on this machine, in one run.

    python benchmarks/plan_check.py [--sizes nano-small nano nano-large] [--batch 16] [--repeats 5]

Each size is a Movie Gen transformer over nano's clips, trained as the loop trains it (the same precision, AdamW). The
utilisation that the first size reaches is taken as the machine's; it predicts the others, which is what a user does who
has timed a small run. Beside it stands what the plan's own default says, and of memory what autograd really kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import torch

from kinema.systems.movie_gen.video.model import MovieGenTransformer, TransformerConfig, preset
from kinema.systems.movie_gen.video.planning import blueprint
from kinema.text.states import TextStates
from kinema.train.flops import count_flops
from kinema.train.optim import build_optimizers
from kinema.train.plan import Device, Plan, make_plan, this_machine
from kinema.train.precision import Precision

TEXT_TOKENS = 48
SIZES = {
    "toy": preset("nano", dim=64, depth=2, hidden=96, num_heads=2),
    "toy-wide": preset("nano", dim=128, depth=2, hidden=192, num_heads=2),
    "nano-small": preset("nano", dim=192, depth=4, hidden=256),
    "nano": preset("nano"),
    "nano-large": preset("nano", dim=384, depth=8, hidden=768, num_heads=6),
    "wide": preset("nano", dim=2560, depth=2, hidden=6912, num_heads=20),  # ten times nano's width
}


@dataclass(frozen=True)
class Measured:
    """Of one network: parameters, FLOPs of a step's products, bytes that autograd kept, seconds of some steps."""

    parameters: int
    flops: int
    kept: int
    seconds: list[float]


def measure(config: TransformerConfig, batch: int, repeats: int) -> Measured:
    """Train for some steps, after one to warm up in which everything is counted."""
    torch.manual_seed(0)
    model = MovieGenTransformer(config)
    optimizers = build_optimizers(model)
    precision = Precision.choose("auto", "cpu")
    latent, times = torch.randn(batch, config.latent_channels, *config.grid), torch.rand(batch)
    text = TextStates(
        torch.randn(batch, TEXT_TOKENS, config.text_dims[0]), torch.ones(batch, TEXT_TOKENS, dtype=torch.bool)
    )

    def step() -> None:
        with precision.autocast():
            loss = (model(latent, times, text) - latent).square().mean()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage
        return tensor

    with count_flops() as counted, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    kept = sum(storage.nbytes() for storage in held.values())
    held.clear()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return Measured(sum(p.numel() for p in model.parameters()), counted.total, kept, seconds)


def plan_of(config: TransformerConfig, device: Device, batch: int, mfu: float | None = None) -> Plan:
    """What `kinema plan` would say of one device."""
    drawn = blueprint(config, config.grid, (TEXT_TOKENS,))
    return make_plan(drawn, device, 1, batch, checkpointing=False, ema=False, mfu=mfu)


def main() -> None:
    """Measure every size, predict all but the first from it, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["nano-small", "nano", "nano-large"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    device = this_machine()
    rows, reached = [], 0.0
    print(
        f"{'size':12}{'measured':>11}{'predicted':>11}{'ratio':>7}{'by default':>12}{'mfu':>7}"
        f"{'kept/plan':>11}{'FLOPs':>7}{'parameters':>12}"
    )
    for name in given.sizes:
        config = SIZES[name]
        found = measure(config, given.batch, given.repeats)
        middle = statistics.median(found.seconds)
        plan = plan_of(config, device, given.batch)
        mfu = plan.step_seconds * plan.mfu / middle
        reached = reached or mfu
        predicted = plan_of(config, device, given.batch, reached).step_seconds
        # Under autocast autograd also holds the weights' bfloat16 copies, which a plan counts as working memory.
        casts = 2 * plan.blueprint.parameters if device.compute_bytes == 2 else 0
        row = {
            "size": name,
            "parameters": found.parameters,
            "parameters_over_planned": found.parameters / plan.blueprint.parameters,
            "flops_over_planned": found.flops / (plan.work.executed * given.batch),
            "measured_seconds": middle,
            "spread": [min(found.seconds), max(found.seconds)],
            "predicted_seconds": predicted,
            "ratio": predicted / middle,
            "default_seconds": plan.step_seconds,
            "mfu": mfu,
            "activations_kept_over_planned": found.kept / (plan.memory.activations + casts),
        }
        rows.append(row)
        print(
            f"{name:12}{middle * 1e3:8.1f} ms{predicted * 1e3:8.1f} ms{predicted / middle:7.2f}"
            f"{plan.step_seconds * 1e3:9.1f} ms{mfu:7.2f}{row['activations_kept_over_planned']:11.2f}"
            f"{row['flops_over_planned']:7.3f}{row['parameters_over_planned']:12.4f}"
        )
    print(
        json.dumps(
            {
                "what": "seconds of a training step, median, against the plan calibrated on the first size",
                "command": " ".join(["python", "benchmarks/plan_check.py", *sys.argv[1:]]),
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{platform.machine()}, {device.title}, {device.flops / 1e9:.0f} GFLOP/s",
                "versions": {"torch": torch.__version__, "python": platform.python_version()},
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
