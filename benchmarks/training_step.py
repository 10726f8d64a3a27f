"""How much of the machine a training step reaches: forward, backward and the optimiser, beside diffusers.

    python benchmarks/training_step.py [--sizes nano wide] [--precision fp32 bf16] [--repeats 3] [--threads 2]

`nano` is the shipped size under its own optimiser (Muon); `wide` is ten times as wide, under AdamW. Beside each stands
diffusers' WanTransformer3DModel of the same width, depth, heads, tokens and parameters in the blocks (its feed-forward
has two matrices, so they are half as wide again), under the same optimiser; both run plainly and with their blocks
compiled, in turns, in one process. "Share" is the arithmetic of forward and backward, as PyTorch counts it, over the
whole step's seconds, against the ceiling: the faster of a large square product and of the feed-forward's own product at
the step's number of tokens, measured in the same run and precision. The optimiser's time is in the seconds and its
arithmetic is not counted. "Planned" is what `kinema plan` says of the step, given the ceiling and its own usual share.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kinema.systems.movie_gen.video.model import MovieGenTransformer, TransformerConfig, preset
from kinema.systems.movie_gen.video.planning import blueprint
from kinema.text.states import TextStates
from kinema.train.blocks import compile_blocks, uncompile_blocks
from kinema.train.flops import count_flops
from kinema.train.optim import OptimizerName, build_optimizers
from kinema.train.plan import Device, make_plan
from kinema.train.precision import Precision, PrecisionName
from tests.parity import shim_torchvision

TEXT_TOKENS = 48
# Size -> network, optimiser, and for each precision the samples of a step.
SIZES: dict[str, tuple[TransformerConfig, OptimizerName, dict[str, int]]] = {
    "toy": (preset("nano", dim=64, depth=2, hidden=96, num_heads=2), "muon", {"fp32": 2, "bf16": 2}),
    "nano": (preset("nano"), "muon", {"fp32": 32, "bf16": 32}),
    "wide": (
        preset("nano", dim=2560, depth=2, hidden=6912, num_heads=20),
        "adamw",
        {"fp32": 2, "bf16": 16},
    ),
}
Step = Callable[[], None]


def ceiling(
    tokens: int, config: TransformerConfig, dtype: torch.dtype, seconds: float = 1.5
) -> dict[str, float]:
    """FLOP/s of products: square ones of 2048, and the feed-forward's of a step; the best within some time each."""
    found = {}
    for name, (rows, inner, columns) in {
        "square": (2048, 2048, 2048),
        "feed_forward": (tokens, config.dim, config.hidden),
    }.items():
        x, weight = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
        best, begun = float("inf"), time.perf_counter()
        while time.perf_counter() - begun < seconds:
            start = time.perf_counter()
            nn.functional.linear(x, weight)
            best = min(best, time.perf_counter() - start)
        found[name] = 2.0 * rows * inner * columns / best
    return found


def their_model(config: TransformerConfig) -> nn.Module:
    """The network of diffusers of equal width, depth and heads."""
    shim_torchvision()
    from diffusers import WanTransformer3DModel

    model: Any = WanTransformer3DModel(
        patch_size=config.patch,
        num_attention_heads=config.num_heads,
        attention_head_dim=config.dim // config.num_heads,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        text_dim=config.text_dims[0],
        freq_dim=config.freq_dim,
        ffn_dim=config.hidden * 3 // 2,
        num_layers=config.depth,
    )
    return model.train()


def step_of(
    model: nn.Module,
    velocity: Callable[[], Tensor],
    target: Tensor,
    precision: Precision,
    optimizer: OptimizerName,
) -> tuple[Step, Step]:
    """A whole training step, and one without the optimiser."""
    optimizers = build_optimizers(model, optimizer=optimizer, lr=1e-4)

    def gradients() -> None:
        with precision.autocast():
            loss = (velocity() - target).square().mean()
        loss.backward()

    def step() -> None:
        gradients()
        for each in optimizers:
            each.step()
            each.zero_grad(set_to_none=True)

    return step, gradients


def planned(config: TransformerConfig, batch: int, dtype: torch.dtype, top: float) -> dict[str, float]:
    """What `kinema plan` says of a step on a processor with this ceiling: seconds, and the arithmetic in FLOPs."""
    half = dtype == torch.bfloat16
    device = Device(
        name="cpu", title="this machine", flops=top, memory=float("inf"), bandwidth=None,
        compute_bytes=2 if half else 4, mfu=0.2 if half else 0.6, fused_norms=False,
    )  # fmt: skip
    plan = make_plan(blueprint(config, config.grid, (TEXT_TOKENS,)), device, 1, batch, checkpointing=False)
    return {"planned_seconds": plan.step_seconds, "planned_tflop": plan.work.executed * batch / 1e12}


def timed(run: Step) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(size: str, name: PrecisionName, repeats: int, compile_too: bool) -> list[dict[str, Any]]:
    """One row for each network, plain and compiled."""
    config, optimizer, batches = SIZES[size]
    batch, precision = batches[name], Precision.choose(name)
    torch.manual_seed(0)
    latent, t = torch.randn(batch, config.latent_channels, *config.grid), torch.rand(batch)
    embeds = torch.randn(batch, TEXT_TOKENS, config.text_dims[0])
    text = TextStates(embeds, torch.ones(batch, TEXT_TOKENS, dtype=torch.bool))
    ours, theirs = MovieGenTransformer(config), their_model(config)
    steps = {
        "kinema": step_of(ours, lambda: ours(latent, t, text), latent, precision, optimizer),
        "diffusers": step_of(
            theirs,
            lambda: theirs(latent, 1000 * (1 - t), embeds, return_dict=False)[0],
            latent,
            precision,
            optimizer,
        ),
    }
    models = {"kinema": ours, "diffusers": theirs}
    tokens = batch * int(torch.tensor(config.tokens(config.grid)).prod())
    work = {}
    for who, (_, gradients) in steps.items():
        with count_flops() as counted:
            gradients()
        work[who] = counted.total
        models[who].zero_grad(set_to_none=True)
    best = ceiling(tokens, config, precision.compute)
    rows: list[dict[str, Any]] = []
    compiled: list[nn.Module] = []
    for mode in ("plain", "compiled") if compile_too else ("plain",):
        if mode == "compiled":
            compiled = [*compile_blocks(ours), *compile_blocks(theirs)]
        for step, _ in steps.values():
            step()
        seconds: dict[str, list[float]] = {who: [] for who in steps}
        apart: dict[str, list[float]] = {who: [] for who in steps}
        for _ in range(repeats):
            for who, (step, _) in steps.items():
                seconds[who].append(timed(step))
        for who, (_, gradients) in steps.items():
            apart[who].append(timed(gradients))
            models[who].zero_grad(set_to_none=True)
        again = ceiling(tokens, config, precision.compute, 0.75)
        best = {key: max(value, again[key]) for key, value in best.items()}
        for who, values in seconds.items():
            middle = statistics.median(values)
            rows.append(
                {
                    "size": size,
                    "precision": name,
                    "network": who,
                    "mode": mode,
                    "parameters": sum(p.numel() for p in models[who].parameters()),
                    "tokens": tokens,
                    "tflop": work[who] / 1e12,
                    "seconds": middle,
                    "spread": [min(values), max(values)],
                    "without_optimizer": min(apart[who]),
                    "gflops": work[who] / middle / 1e9,
                }
            )
    uncompile_blocks(compiled)
    top = max(best.values())
    for row in rows:
        row |= {"ceiling_gflops": {k: v / 1e9 for k, v in best.items()}, "share": 1e9 * row["gflops"] / top}
        if row["network"] == "kinema":
            row |= planned(config, batch, precision.compute, top)
        row["share_without_optimizer"] = 1e12 * row["tflop"] / row["without_optimizer"] / top
    return rows


def profile(size: str, name: PrecisionName) -> None:
    """Where the time of one of our steps goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    config, optimizer, batches = SIZES[size]
    latent, t = torch.randn(batches[name], config.latent_channels, *config.grid), torch.rand(batches[name])
    text = TextStates(
        torch.randn(len(t), TEXT_TOKENS, config.text_dims[0]),
        torch.ones(len(t), TEXT_TOKENS, dtype=torch.bool),
    )
    model = MovieGenTransformer(config)
    step, _ = step_of(model, lambda: model(latent, t, text), latent, Precision.choose(name), optimizer)
    step()
    with record(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    print(
        recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=50)
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["nano", "wide"])
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled rows out")
    parser.add_argument(
        "--profile", action="store_true", help="say where the time of a plain step goes instead"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    if not options.profile:
        columns = (
            "size", "precision", "network", "blocks", "parameters, M", "step, s", "GFLOP/s", "share of ceiling",
            "without the optimiser", "planned, s",
        )  # fmt: skip
        print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for size in options.sizes:
        for name in options.precision:
            if options.profile:
                profile(size, name)
                continue
            found = measure(size, name, options.repeats, not options.no_compile)
            for row in found:
                plan = f"{row['planned_seconds']:.3f}" if "planned_seconds" in row else ""
                print(
                    f"| {size} | {name} | {row['network']} | {row['mode']} | {row['parameters'] / 1e6:.1f} |"
                    f" {row['seconds']:.3f} | {row['gflops']:.0f} | {100 * row['share']:.0f} % |"
                    f" {100 * row['share_without_optimizer']:.0f} % | {plan} |",
                    flush=True,
                )
            rows += found
            gc.collect()
    if options.profile:
        return
    import diffusers

    print(
        json.dumps(
            {
                "what": "seconds of a training step, median, and its share of the ceiling of matrix products",
                "command": " ".join(["python", *sys.argv]),
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{platform.machine()}, {options.threads} threads",
                "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
