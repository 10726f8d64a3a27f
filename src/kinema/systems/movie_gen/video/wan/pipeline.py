"""Words in, clips out, with the weights of Wan 2.1 and kinema's own sampler.

What does not change between solver steps is computed once (`WanTransformer.prepare`), and guidance runs as one batch.
The text encoder and the codec are whatever is handed in: the pipeline asks for `encode` and `decode` and no more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.flow.guidance import guided
from kinema.flow.schedules import linear, shift
from kinema.flow.solvers import OnStep, Velocity, unipc
from kinema.media import Video, to_uint8
from kinema.systems.movie_gen.video.request import check_request, seeded_noise
from kinema.systems.movie_gen.video.wan.cache import CacheReport, StepCache
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from kinema.text.states import TextStates
from kinema.train.blocks import compile_blocks
from kinema.train.precision import Precision, PrecisionName

STRIDES = (4, 8, 8)  # of Wan's codec, causal in time: T latent frames are 4 (T - 1) + 1 frames
STEPS = 50
GUIDANCE_SCALE = 5.0
FPS = 16.0  # of the clips that Wan 2.1 was trained on

Solver = Callable[[Velocity, Tensor, Tensor, OnStep | None], Tensor]
logger = logging.getLogger(__name__)


class PromptEncoder(Protocol):
    """umT5-xxl, or anything whose states are as wide as the transformer's `text_dim`."""

    def encode(self, prompts: Sequence[str]) -> TextStates: ...


class LatentDecoder(Protocol):
    """Wan's codec: normalised latent (B, C, t, h, w) -> pixels (B, 3, 4 (t - 1) + 1, 8 h, 8 w) in [-1, 1]."""

    def decode(self, latent: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Sampled:
    """A normalised latent (B, C, t, h, w), and what the step cache did, where there was one."""

    latent: Tensor
    cache: CacheReport | None = None


@dataclass(frozen=True)
class WanClip:
    """A clip, the prompt as the model read it, and what the step cache did, where there was one."""

    video: Video
    prompt_used: str
    cache: CacheReport | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """What there is to say to the user."""
        return () if self.cache is None else (str(self.cache),)


def default_shift(height: int, width: int) -> float:
    """How far the schedule leans towards noise: 3 for clips of 480p, 5 for those of 720p and more."""
    return 5.0 if min(height, width) >= 720 else 3.0


class WanVideo:
    """Text to video. `generate` keeps no state between calls.

    Args:
        transformer: where it is, there the clips are made; one whose blocks are offloaded will do.
        text: gives states of width `transformer.config.text_dim`.
        codec: gives pixels for latents of `transformer.config.latent_channels`.
        precision: of the transformer's products; `auto` is bfloat16 where the device has units for it.
    """

    def __init__(
        self,
        transformer: WanTransformer,
        text: PromptEncoder,
        codec: LatentDecoder,
        precision: PrecisionName = "auto",
    ) -> None:
        self.transformer = transformer.eval().requires_grad_(False)
        self.text = text
        self.codec = codec
        self.precision = Precision.choose(precision, transformer.device)
        self.compiled = False

    def compile(self) -> WanVideo:
        """Compile the transformer's blocks: a minute once for each size of clip and length of text."""
        if self.transformer.stream is not None:
            raise UserError(
                "blocks that are offloaded cannot be compiled: load without offload, or do not compile"
            )
        self.compiled = self.compiled or bool(compile_blocks(self.transformer))
        return self

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int = STEPS,
        guidance_scale: float = GUIDANCE_SCALE,
        height: int = 480,
        width: int = 832,
        num_frames: int = 81,
        fps: float = FPS,
        shift: float | None = None,
        negative_prompt: str = "",
        cache: float | None = None,
        measure_cache: bool = False,
        batch: int = 1,
        solver: Solver = unipc,
        on_step: OnStep | None = None,
    ) -> list[WanClip]:
        """Make one clip for each prompt.

        Args:
            seeds: one a prompt. The noise of a clip depends on its seed alone, drawn on the CPU.
            steps: of the shifted linear schedule.
            guidance_scale: how hard the prompt pulls; 1 is no guidance.
            height, width: multiples of 16.
            num_frames: a multiple of 4, and one.
            fps: frames a second, written to the file; the model was trained on 16.
            shift: of the schedule; None takes `default_shift` of the size.
            negative_prompt: what the guidance steers away from. Wan's own program puts a long sentence here
                (`sample_neg_prompt` in its configuration), and its published clips were made with it.
            cache: threshold of the step cache (0.05 to 0.2); None computes every step in full.
            measure_cache: also make the clip without the cache, and report how far the latents are apart.
            batch: clips that are solved together.
            on_step: called with the steps done and the latent, for each batch.

        Raises:
            UserError: a size, a count or a setting that the model cannot take.
        """
        self._check(prompts, seeds, steps, guidance_scale, height, width, num_frames, fps, batch)
        clips: list[WanClip] = []
        channels = self.transformer.config.latent_channels
        shape = (channels, 1 + (num_frames - 1) // STRIDES[0], height // STRIDES[1], width // STRIDES[2])
        lean = default_shift(height, width) if shift is None else shift
        for begin in range(0, len(prompts), batch):
            some = slice(begin, begin + batch)
            noise = seeded_noise(shape, seeds[some])
            sampled = self.sample(
                prompts[some],
                noise,
                steps,
                guidance_scale,
                lean,
                negative_prompt,
                cache=cache,
                measure_cache=measure_cache,
                solver=solver,
                on_step=on_step,
            )
            for prompt, latent in zip(
                prompts[some], sampled.latent.split(1), strict=True
            ):  # memory for one clip
                pixels = self.codec.decode(latent)[0].float().cpu()
                clips.append(WanClip(Video(to_uint8(pixels.clamp(-1, 1)), fps), prompt, sampled.cache))
        return clips

    @torch.inference_mode()
    def sample(
        self,
        prompts: Sequence[str],
        noise: Tensor,
        steps: int = STEPS,
        guidance_scale: float = GUIDANCE_SCALE,
        shift: float = 3.0,
        negative_prompt: str = "",
        *,
        cache: float | None = None,
        measure_cache: bool = False,
        solver: Solver = unipc,
        on_step: OnStep | None = None,
    ) -> Sampled:
        """Solve from noise (B, C, t, h, w) to a normalised latent; the arguments are those of `generate`."""
        states = self.text.encode(prompts)
        if guidance_scale != 1.0:
            negative = self.text.encode([negative_prompt] * len(prompts))
            states = TextStates.cat([states, negative])
        return solve(
            self.transformer,
            states.to(self.transformer.device),
            noise.to(self.transformer.device),
            schedule(steps, shift),
            guidance_scale,
            self.precision,
            cache=cache,
            measure_cache=measure_cache,
            solver=solver,
            on_step=on_step,
        )

    def _check(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int,
        scale: float,
        height: int,
        width: int,
        num_frames: int,
        fps: float,
        batch: int,
    ) -> None:
        check_request(prompts, seeds, scale, fps)
        counts = (
            ("steps", steps),
            ("num_frames", num_frames),
            ("height", height),
            ("width", width),
            ("batch", batch),
        )
        for name, count in counts:
            if not hasattr(count, "__index__") or count < 1:
                raise UserError(f"{name} is {count!r} and must be a whole number of 1 or more")
        if steps > 1000:
            raise UserError(f"steps is {steps} and must be at most 1000")
        patch = self.transformer.config.patch
        for name, size, multiple in (
            ("height", height, STRIDES[1] * patch[1]),
            ("width", width, STRIDES[2] * patch[2]),
        ):
            if size % multiple:
                near = max(round(size / multiple), 1) * multiple
                raise UserError(f"{name} is {size} and must be a multiple of {multiple}: try {near}")
        if (num_frames - 1) % STRIDES[0]:
            near = max(round((num_frames - 1) / STRIDES[0]), 0) * STRIDES[0] + 1
            raise UserError(f"num_frames is {num_frames} and must be a multiple of 4, and one: try {near}")


def schedule(steps: int, factor: float) -> Tensor:
    """The times (steps + 1,) of Wan's schedule: equal steps of the noise level, shifted."""
    if not factor > 0:
        raise UserError(f"shift is {factor} and must be above 0")
    return shift(linear(steps), factor)


@torch.inference_mode()
def solve(
    model: WanTransformer,
    states: TextStates,
    noise: Tensor,
    times: Tensor,
    guidance_scale: float,
    precision: Precision,
    *,
    cache: float | None = None,
    measure_cache: bool = False,
    solver: Solver = unipc,
    on_step: OnStep | None = None,
) -> Sampled:
    """Follow the velocity from noise (B, C, t, h, w) along `times`.

    Args:
        states: of B texts at guidance scale 1, otherwise of 2 B, the negative ones behind.
    """
    held = model.patch_embedding.weight.dtype  # matrices that are held in half precision need no casting
    context = precision.autocast if held == torch.float32 else nullcontext
    with context():
        condition = model.prepare(states, noise.shape[2:])

    def run(steps: StepCache | None, report: OnStep | None) -> Tensor:
        def velocity(x: Tensor, t: Tensor) -> Tensor:
            with context():
                return model(x, t[:1], condition, steps)  # solvers give one time to all

        field = velocity if guidance_scale == 1.0 else guided(velocity, guidance_scale)
        return solver(field, noise, times, report)

    if cache is None:
        return Sampled(run(None, on_step))
    steps = StepCache(cache)
    latent = run(steps, on_step)
    error = None
    if measure_cache:
        whole = run(None, None)
        error = float((latent - whole).norm() / whole.norm())
    found = steps.report(error)
    logger.info("%s", found)
    return Sampled(latent, found)
