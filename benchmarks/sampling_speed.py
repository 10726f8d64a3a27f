"""How long sampling takes: kinema's Wan 2.1 against diffusers', the same weights, noise, steps and guidance.

    python benchmarks/sampling_speed.py [--steps 5] [--turns 4] [--threads 2] [--size 4 32 32] [--no-compile]

Theirs is `WanPipeline` itself, from text states to the latent: two passes a step, 512 text tokens embedded in each.
Ours is `solve`, what it computes once counted in. Each runs once for two steps unmeasured, then they take turns in one
process, first in float32, then in bfloat16, and the fastest turn of each counts, which a busy machine disturbs least;
theirs in bfloat16 is as `from_pretrained` with that `torch_dtype` gives it.
The latents must agree, or there is no figure. The weights are random (the time does not depend on them), the shape is
that of the 1.3B model made narrower and shallower. What the step cache skips and what that does depends on the
weights; it is timed in one longer clip.

The products alone are the block's matrix products and attention at our shapes, timed by themselves: no implementation
with the same kernels can be faster than that.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kinema.flow.solvers import euler
from kinema.nn.attention import attention
from kinema.systems.movie_gen.video.wan.config import WanConfig
from kinema.systems.movie_gen.video.wan.files import stays_float32
from kinema.systems.movie_gen.video.wan.keys import to_diffusers
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from kinema.systems.movie_gen.video.wan.pipeline import solve
from kinema.text.states import TextStates
from kinema.train.blocks import compile_blocks
from kinema.train.precision import Precision
from tests.parity import shim_torchvision

GUIDANCE_SCALE, SHIFT = 5.0, 3.0
LIMITS = {"fp32": 1e-3, "bf16": 0.1}  # on the relative difference of latents


def random_model(config: WanConfig) -> WanTransformer:
    """No parameter at zero, or the output would not show a difference."""
    torch.manual_seed(0)
    model = WanTransformer(config)
    torch.nn.init.normal_(model.head.head.weight, std=0.02)
    return model.eval().requires_grad_(False)


def hold_in_bfloat16(module: torch.nn.Module, stays: Callable[[str], bool]) -> None:
    """Cast the parameters whose names do not have to stay."""
    for name, parameter in module.named_parameters():
        if not stays(name):
            parameter.data = parameter.data.to(torch.bfloat16)


def their_pipeline(model: WanTransformer) -> Any:
    """Their pipeline around its transformer at our weights."""
    shim_torchvision()
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

    config = model.config
    transformer = WanTransformer3DModel(
        patch_size=config.patch,
        num_attention_heads=config.num_heads,
        attention_head_dim=config.dim // config.num_heads,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.hidden,
        num_layers=config.depth,
    )
    transformer.load_state_dict(to_diffusers(model.state_dict()))
    transformer.eval().requires_grad_(False)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    pipeline = WanPipeline(
        tokenizer=None, text_encoder=None, vae=None, scheduler=scheduler, transformer=transformer
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Seconds, and what came."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


@torch.inference_mode()
def products_alone(config: WanConfig, tokens: int, dtype: torch.dtype) -> float:
    """Seconds for the matrix products and self-attention of one guided step, nothing between them."""
    dim, heads = config.dim, config.num_heads

    def seconds(run: Callable[[], Tensor]) -> float:
        run()
        return min(timed(run)[0] for _ in range(5))

    def product(width: int, out: int) -> float:
        x, weight = torch.randn(2 * tokens, width, dtype=dtype), torch.randn(out, width, dtype=dtype)
        buffer = torch.empty(2 * tokens, out, dtype=dtype)
        return seconds(lambda: torch.mm(x, weight.T, out=buffer))

    q = torch.randn(2, heads, tokens, dim // heads, dtype=dtype)
    block = 6 * product(dim, dim) + product(dim, config.hidden) + product(config.hidden, dim)
    return config.depth * (block + seconds(lambda: attention(q, q, q)))


def processor() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def distance(one: Tensor, other: Tensor) -> tuple[float, float]:
    """The norm of the difference over that of `other`, and the largest difference."""
    difference = one.float() - other.float()
    return float(difference.norm() / other.float().norm()), float(difference.abs().max())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=3, default=(4, 32, 32), help="latent frames, rows, columns")
    parser.add_argument(
        "--prompt-tokens", type=int, nargs=2, default=(20, 30), help="prompt, negative prompt"
    )
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--cache", type=float, default=0.2, help="threshold of the step cache; 0: none")
    parser.add_argument("--cache-steps", type=int, default=25)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    hidden = round(options.dim * 8960 / 1536 / 64) * 64  # the ratio of the 1.3B model
    config = WanConfig(dim=options.dim, depth=options.depth, num_heads=options.heads, hidden=hidden)
    model = random_model(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    theirs = their_pipeline(model)
    generator = torch.Generator().manual_seed(1)
    frames, rows, columns = options.size
    noise = torch.randn(1, config.latent_channels, frames, rows, columns, generator=generator)
    tokens = int(noise[0, 0].numel() / 4)
    longest = max(options.prompt_tokens)
    mask = torch.arange(longest) < torch.tensor(options.prompt_tokens)[:, None]
    embeds = torch.randn(2, longest, config.text_dim, generator=generator) * mask.unsqueeze(2)
    states = TextStates(embeds, mask)
    prompt, negative = states.padded(config.text_tokens).embeds.split(1)

    def run_theirs(steps: int) -> Tensor:
        latent: Tensor = theirs(
            prompt_embeds=prompt,
            negative_prompt_embeds=negative,
            latents=noise,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE_SCALE,
            num_frames=4 * (frames - 1) + 1,
            height=8 * rows,
            width=8 * columns,
            output_type="latent",
        ).frames
        return latent

    def times(steps: int) -> Tensor:
        theirs.scheduler.set_timesteps(steps)
        return 1 - theirs.scheduler.sigmas.double()

    def run_ours(network: WanTransformer, steps: int, precision: Precision) -> Tensor:
        return solve(network, states, noise, times(steps), GUIDANCE_SCALE, precision, solver=euler).latent

    results: list[dict[str, Any]] = []
    exact: Tensor | None = None
    print(f"| a guided step, best of {options.turns} turns | seconds | diffusers / this | to diffusers |")
    print("|---|---|---|---|")
    for name in options.precisions:
        if name == "bf16":
            keep = theirs.transformer._keep_in_fp32_modules
            hold_in_bfloat16(theirs.transformer, lambda n, keep=keep: any(k in n.split(".") for k in keep))
            hold_in_bfloat16(model, stays_float32)
        precision = Precision.choose(name)
        compiled = copy.deepcopy(model)
        ways: dict[str, Callable[[int], Tensor]] = {
            "diffusers, eager": run_theirs,
            "kinema, eager": lambda steps, p=precision: run_ours(model, steps, p),
        }
        if not options.no_compile:
            compile_blocks(compiled)
            ways["kinema, compiled"] = lambda steps, p=precision, m=compiled: run_ours(m, steps, p)
        for run in ways.values():
            run(2)
        latents: dict[str, Tensor] = {}
        best = dict.fromkeys(ways, math.inf)
        for _ in range(options.turns):
            for way, run in ways.items():
                seconds, latents[way] = timed(lambda run=run: run(options.steps))
                best[way] = min(best[way], seconds / options.steps)
        reference, base = latents["diffusers, eager"], best["diffusers, eager"]
        for way in ways:
            relative, largest = distance(latents[way], reference)
            if relative > LIMITS[name]:
                raise SystemExit(f"{way} differs by {relative:.2g}, so the times compare different work")
            row = {"precision": name, "way": way, "seconds": best[way], "ratio": base / best[way]}
            row |= {"relative_difference": relative, "largest_difference": largest}
            note = f"{relative:.1e} (largest {largest:.1e})"
            if exact is not None:
                row["relative_difference_to_fp32"] = distance(latents[way], exact)[0]
                note += f", to their fp32 {row['relative_difference_to_fp32']:.1e}"
            print(f"| {name}: {way} | {best[way]:.3f} | {base / best[way]:.2f} | {note} |", flush=True)
            results.append(row)
        exact = reference if name == "fp32" else exact
        alone = products_alone(config, tokens, torch.bfloat16 if name == "bf16" else torch.float32)
        print(f"| {name}: products alone | {alone:.3f} | {base / alone:.2f} | |", flush=True)
        results.append({"precision": name, "way": "products alone", "seconds": alone})
        if options.cache:
            path, count = times(options.cache_steps), options.cache_steps
            start = time.perf_counter()
            sampled = solve(
                model, states, noise, path, GUIDANCE_SCALE, precision, cache=options.cache, solver=euler
            )
            each = (time.perf_counter() - start) / count
            error = distance(sampled.latent, run_ours(model, count, precision))[0]
            note = f"{sampled.cache}, relative error {error:.2g}"
            way = f"kinema, eager, step cache {options.cache:g}"
            print(f"| {name}: {way} | {each:.3f} | {base / each:.2f} | {note} |", flush=True)
            results.append(
                {"precision": name, "way": way, "seconds": each, "ratio": base / each, "cache": note}
            )
    import diffusers

    facts = {
        "results": results,
        "tokens": tokens,
        "text_tokens": list(options.prompt_tokens),
        "parameters": parameters,
        "command": " ".join(["python", *sys.argv]),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{processor()}, {options.threads} threads",
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
