"""How long sampling takes: kinema's Wan 2.1 against diffusers', the same weights, noise, steps and guidance.

    python benchmarks/sampling_speed.py [--steps 50] [--threads 2] [--size 4 32 32] [--cache 0.1]

Theirs is `WanPipeline` itself, from text states to the latent: two passes a step, the text embedded in each. Ours is
`solve`: guidance in one batch, what the steps share computed once, and that counted in. Both run once for one step
unmeasured, then in turns, in one process; the latents must agree, or there is no figure. The weights are random (the
time does not depend on them), the shape is that of the 1.3B model made narrower and shallower. With --cache the step
cache is timed as well; what it skips depends on the weights, so with random ones that line says only that it works.
"""

from __future__ import annotations

import argparse
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
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kinema.systems.movie_gen.video.wan.keys import to_diffusers
from kinema.systems.movie_gen.video.wan.model import WanConfig, WanTransformer
from kinema.systems.movie_gen.video.wan.pipeline import Sampled, solve
from kinema.text.states import TextStates
from kinema.train.precision import Precision
from tests.parity import shim_torchvision

GUIDANCE_SCALE, SHIFT = 5.0, 3.0
PROMPT_TOKENS, NEGATIVE_TOKENS = 60, 120


def random_model(config: WanConfig) -> WanTransformer:
    """No parameter at zero, or the output would not show a difference."""
    torch.manual_seed(0)
    model = WanTransformer(config)
    torch.nn.init.normal_(model.head.head.weight, std=0.02)
    return model.eval().requires_grad_(False)


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
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    pipeline = WanPipeline(
        tokenizer=None, text_encoder=None, vae=None, scheduler=scheduler, transformer=transformer.eval()
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Seconds, and what came."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def processor() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=3, default=(4, 32, 32), help="latent frames, rows, columns")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="of the products of both"
    )
    parser.add_argument("--cache", type=float, help="also time the step cache at this threshold")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    hidden = round(options.dim * 8960 / 1536)  # the ratio of the 1.3B model
    config = WanConfig(dim=options.dim, depth=options.depth, num_heads=options.heads, hidden=hidden)
    model = random_model(config)
    theirs = their_pipeline(model)
    generator = torch.Generator().manual_seed(1)
    frames, rows, columns = options.size
    noise = torch.randn(1, config.latent_channels, frames, rows, columns, generator=generator)
    mask = torch.arange(NEGATIVE_TOKENS) < torch.tensor([[PROMPT_TOKENS], [NEGATIVE_TOKENS]])
    embeds = torch.randn(2, NEGATIVE_TOKENS, config.text_dim, generator=generator) * mask.unsqueeze(2)
    states = TextStates(embeds, mask)
    prompt, negative = states.padded(config.text_tokens).embeds.split(1)
    precision = Precision.choose(options.precision)

    def run_theirs(steps: int) -> Tensor:
        with precision.autocast():
            return theirs(
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

    def times(steps: int) -> Tensor:
        theirs.scheduler.set_timesteps(steps)
        return 1 - theirs.scheduler.sigmas.double()

    def run_ours(steps: int) -> Tensor:
        return solve(model, states, noise, times(steps), GUIDANCE_SCALE, precision).latent

    run_ours(1), run_theirs(1)
    ours_seconds, theirs_seconds = [], []
    ours = reference = noise
    for _ in range(options.repeats):
        seconds, ours = timed(lambda: run_ours(options.steps))
        ours_seconds.append(seconds)
        seconds, reference = timed(lambda: run_theirs(options.steps))
        theirs_seconds.append(seconds)
    difference = float((ours - reference).norm() / reference.norm())
    if difference > (1e-3 if options.precision == "fp32" else 0.1):
        raise SystemExit(f"the two latents differ by {difference:.2g}, so the times compare different work")

    mine, other = statistics.median(ours_seconds), statistics.median(theirs_seconds)
    result: dict[str, Any] = {
        "kinema_seconds": round(mine, 2),
        "diffusers_seconds": round(other, 2),
        "ratio": round(other / mine, 3),
        "relative_difference": difference,
        "tokens": int(noise[0, 0].numel() / 4),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    if options.cache is not None:

        def run_cached(measure: bool) -> Sampled:
            path = times(options.steps)
            return solve(
                model,
                states,
                noise,
                path,
                GUIDANCE_SCALE,
                precision,
                cache=options.cache,
                measure_cache=measure,
            )

        seconds, _ = timed(lambda: run_cached(False).latent)
        result |= {"cached_seconds": round(seconds, 2), "cache": str(run_cached(True).cache)}
    print(f"{options.steps} guided steps, {options.precision}, seconds in the same run:")
    print(
        f"| kinema | diffusers | diffusers / kinema |\n|---|---|---|\n| {mine:.1f} | {other:.1f} | {other / mine:.2f} |"
    )
    import diffusers

    result |= {
        "command": " ".join(["python", *sys.argv]),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{processor()}, {options.threads} threads",
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
