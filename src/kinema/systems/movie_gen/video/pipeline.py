"""What a user calls: words in, clips out (2410.13720, section on inference).

What does not change between solver steps is computed once: the text states, every layer's keys and values, the
schedule. Guidance runs as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.flow.guidance import guided
from kinema.flow.schedules import linear_quadratic
from kinema.flow.solvers import euler
from kinema.flow.windows import multidiffusion
from kinema.media import Video, to_uint8
from kinema.systems.movie_gen.video.parts import Parts, load_parts
from kinema.systems.movie_gen.video.prompt import understand
from kinema.systems.movie_gen.video.request import check_request, seeded_noise
from kinema.systems.movie_gen.video.tags import tagged
from kinema.text.states import TextStates
from kinema.train.blocks import compile_blocks
from kinema.train.precision import Precision, PrecisionName

STEPS = 50  # the paper's: linear-quadratic, as 250 linear ones
EMULATED_STEPS = 250
GUIDANCE_SCALE = 2.5  # nano's; the paper's 30B takes 7.5
FPS = 8.0
LONGEST = 8  # times the trained length, in windows


@dataclass(frozen=True)
class GeneratedClip:
    """A clip, what the model read for the prompt, and what there is to say to the user."""

    video: Video
    prompt_used: str
    notices: tuple[str, ...] = ()


class MovieGenVideo:
    """Text to video with one set of weights. `generate` keeps no state between calls.

    precision: of the transformer's products while sampling; `auto` is bfloat16 where the device has units for it.
    Latents, the solver's steps and the codec stay in float32.
    """

    def __init__(self, parts: Parts, device: str = "cpu", precision: PrecisionName = "auto") -> None:
        self.parts = parts.to(device).freeze()
        self.device = torch.device(device)
        self.precision = Precision.choose(precision, device)
        self.compiled = False

    def compile(self) -> MovieGenVideo:
        """Compile the transformer's blocks: half a minute once for each batch size, then about twice as fast."""
        self.compiled = self.compiled or bool(compile_blocks(self.parts.transformer))
        return self

    def read_prompt(self, prompt: str, fps: float) -> tuple[str, tuple[str, ...]]:
        """The text that the model reads for a prompt, and notices.

        A model of the Small World gets the prompt in the form of its captions; one that was finetuned on other clips
        gets it as it is.
        """
        if self.parts.prompt_style == "free":
            return tagged(prompt.strip(), fps), ()
        said = understand(prompt)
        return tagged(said.caption, fps, said.camera), tuple(said.notices)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance_scale: float | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        negative_prompt: str = "",
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> list[GeneratedClip]:
        """Make one clip for each prompt.

        Args:
            seeds: one a prompt. The noise of a clip depends on its seed alone, drawn on the CPU.
            steps: solver steps of the linear-quadratic schedule.
            guidance_scale: how hard the prompt pulls; 1 is no guidance.
            height, width, num_frames: of the clip, at most what the model reaches (see `max_size`). A clip of
                up to `LONGEST` times as many frames is made in overlapping windows (MultiDiffusion).
            fps: frames a second, told to the model and written to the file.
            negative_prompt: what the guidance steers away from.
            on_step: called with the steps done and the latent.

        Raises:
            UserError: a size, a count or a setting that the model cannot take.
        """
        asked = zip((num_frames, height, width), self.max_size, strict=True)
        frames, rows, columns = (most if size is None else size for size, most in asked)
        count = STEPS if steps is None else steps
        scale = GUIDANCE_SCALE if guidance_scale is None else guidance_scale
        rate = FPS if fps is None else fps
        self._check(prompts, seeds, count, scale, frames, rows, columns, rate)
        if not prompts:
            return []
        read = [self.read_prompt(prompt, rate) for prompt in prompts]
        shape = self.parts.codec.spec.latent_shape(frames, rows, columns)
        noise = seeded_noise(shape, seeds)
        latent = self.sample([text for text, _ in read], noise, count, scale, negative_prompt, on_step)
        pixels = self.parts.codec.decode(latent, frames)
        return [
            GeneratedClip(Video(to_uint8(clip.cpu()), rate), text, notices)
            for clip, (text, notices) in zip(pixels, read, strict=True)
        ]

    def sample(
        self,
        texts: Sequence[str],
        noise: Tensor,
        steps: int = STEPS,
        guidance_scale: float = GUIDANCE_SCALE,
        negative_text: str = "",
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Solve from noise (B, C, t, h, w) to a normalised latent under texts as the model reads them."""
        model, parts = self.parts.transformer, self.parts
        states = parts.read(texts, one_length=self.compiled)
        if guidance_scale != 1.0:
            without = parts.read([negative_text] * len(texts), one_length=self.compiled)
            states = tuple(TextStates.cat(pair) for pair in zip(states, without, strict=True))
        with self.precision.autocast():
            condition = model.prepare(states)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            with self.precision.autocast():
                return model(x, t, condition)

        field = velocity if guidance_scale == 1.0 else guided(velocity, guidance_scale)
        window = model.config.grid[0]
        if noise.shape[2] > window:
            # A window begins at every latent frame: with half a window of overlap frames changed 1.09 times as much
            # where one began as elsewhere. It costs twice as many calls.
            field = multidiffusion(field, window, window - 1)
        times = linear_quadratic(steps, max(steps, EMULATED_STEPS))
        return euler(field, noise.to(self.device), times, on_step)

    @property
    def max_size(self) -> tuple[int, int, int]:
        """Frames, height and width of the largest clip."""
        time_stride, row_stride, column_stride = self.parts.codec.spec.strides
        cells = self.parts.transformer.config.grid
        return cells[0] * time_stride, cells[1] * row_stride, cells[2] * column_stride

    def _check(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int,
        scale: float,
        frames: int,
        rows: int,
        columns: int,
        fps: float,
    ) -> None:
        check_request(prompts, seeds, scale, fps)
        for name, count in (("steps", steps), ("num_frames", frames), ("height", rows), ("width", columns)):
            if not hasattr(count, "__index__"):
                raise UserError(f"{name} is {count!r} and must be a whole number")
        if not 2 <= steps <= 1000:
            raise UserError(f"steps is {steps} and must lie between 2 and 1000")
        most, spec, patch = self.max_size, self.parts.codec.spec, self.parts.transformer.config.patch
        if not (1 <= frames <= LONGEST * most[0] and 1 <= rows <= most[1] and 1 <= columns <= most[2]):
            raise UserError(
                f"{frames} frames of {rows}x{columns} (height x width) were asked for, and this model makes at most "
                f"{LONGEST * most[0]} frames of {most[1]}x{most[2]}: ask for less, or train a larger one"
            )
        for name, size, multiple, limit in (
            ("height", rows, spec.strides[1] * patch[1], most[1]),
            ("width", columns, spec.strides[2] * patch[2], most[2]),
        ):
            if size % multiple:
                near = min(max(round(size / multiple), 1) * multiple, limit)
                raise UserError(f"{name} is {size} and must be a multiple of {multiple}: try {near}")


def load(weights_path: Path, device: str = "cpu", precision: PrecisionName = "auto") -> MovieGenVideo:
    """A ready pipeline from a weight file."""
    return MovieGenVideo(load_parts(weights_path), device, precision)
