"""Does a clip longer than the model was trained for show where its windows meet, or become another clip on the way?

A seam is a change between two frames that is larger where a window begins or ends than halfway between such places.
Drift is a subject, a colour or a background that the judge reads differently in the windows of one clip. Both stand
beside two controls: clips joined hard, which must be found, and true renders as long, which must not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.eval.judged import accuracy
from kinema.eval.movie_gen_video import BLOCK, Progress, TextToVideo, held_out_scenes
from kinema.flow.windows import window_starts
from kinema.media import to_tensor
from kinema.world.captions import canonical_caption
from kinema.world.judges.labels import truth
from kinema.world.judges.lessons import to_float
from kinema.world.judges.video import VideoJudge
from kinema.world.renderer import render
from kinema.world.scene import Scene

STEADY = ("identity", "colour", "background")  # what must not change within a clip
FPS = 8.0
RESAMPLES = 2000


class LongTextToVideo(TextToVideo, Protocol):
    """A pipeline that also says how long its windows are."""

    @property
    def max_size(self) -> tuple[int, int, int]:
        """Frames, height and width of what the network sees at once."""


@dataclass(frozen=True, kw_only=True)
class Seam:
    """How much more the frames change at the borders than halfway between them, with the 95 % interval over clips."""

    ratio: float
    low: float
    high: float

    @property
    def found(self) -> bool:
        """The whole interval lies above 1."""
        return self.low > 1.0

    def __str__(self) -> str:
        return f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]"


def window_borders(frames: int, window: int, overlap: int) -> list[int]:
    """Frames before which a window begins or after which one ends, the clip's own ends left out."""
    starts = window_starts(frames, window, overlap)
    return sorted({place for start in starts for place in (start, start + window)} - {0, frames})


def halfway(borders: Sequence[int], frames: int) -> list[int]:
    """The places between frames that are farthest from any border: one in the middle of each gap."""
    return [(a + b) // 2 for a, b in itertools.pairwise((0, *borders, frames)) if b - a >= 2]


def changes(clips: Tensor, order: int = 1) -> Tensor:
    """How much each frame differs from what came before: (B, C, T, H, W) -> (B, T), 0 where there is no before.

    order: 1 is the mean absolute difference to the frame before; 2 that to the two before carried on (a movement that
    breaks off changes little at order 1 and much at order 2).
    """
    if order not in (1, 2) or clips.ndim != 5 or clips.shape[2] <= order:
        raise UserError(
            f"changes of order {order} need clips (batch, channels, frames, height, width), got {tuple(clips.shape)}"
        )
    found = clips.new_zeros(len(clips), clips.shape[2])
    found[:, order:] = torch.diff(clips, n=order, dim=2).abs().mean((1, 3, 4))
    return found


def seam(
    clips: Tensor, borders: Sequence[int], elsewhere: Sequence[int] | None = None, order: int = 1
) -> Seam:
    """Change at the borders over change elsewhere (halfway between the borders if left out), summed over the clips.

    The interval is a percentile bootstrap over clips, always with the same resamples. At order 2 a border is felt one
    frame later too: both count, at both kinds of place.
    """
    others = halfway(borders, clips.shape[2]) if elsewhere is None else elsewhere
    if not borders or not others or len(clips) < 2:
        raise UserError(
            f"{len(clips)} clips, {len(borders)} borders, {len(others)} other places: a seam needs at least 2, 1, 1"
        )
    found = changes(clips, order).double()

    def at(places: Sequence[int]) -> Tensor:
        reached = sorted({p + k for p in places for k in range(order) if p + k < clips.shape[2]})
        return found[:, reached].mean(1)

    there, here = at(borders), at(others)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(clips), (RESAMPLES, len(clips)), generator=generator)
    tiny = 1e-12
    ratios = there[drawn].sum(1) / here[drawn].sum(1).clamp(min=tiny)
    low, high = ratios.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Seam(ratio=float(there.sum() / here.sum().clamp(min=tiny)), low=low, high=high)


def drift(judge: VideoJudge, clips: Tensor, scenes: Sequence[Scene], window: int) -> dict[str, Any]:
    """What the judge reads in each window of `window` frames: does it stay the same, and is it what was asked for?

    For every attribute of `STEADY`: the share of neighbouring windows that are read alike, its interval, the share of
    clips in which all are, and the share of right answers in the first window, the second, and so on.
    """
    count = clips.shape[2] // window
    if count < 2:
        raise UserError(f"{clips.shape[2]} frames hold {count} windows of {window}: drift needs two or more")
    told = [
        judge.read(clips[:, :, i * window : (i + 1) * window]) for i in range(count)
    ]  # windows, then clips
    wanted, result = [truth(scene) for scene in scenes], dict[str, Any]()
    for name in STEADY:
        read = [[reading.labels()[name] for reading in part] for part in told]
        same = accuracy([x for part in read[1:] for x in part], [x for part in read[:-1] for x in part])
        result[name] = {
            "same_as_before": same.share,
            "low": same.low,
            "high": same.high,
            "clips_that_stay": sum(len(set(row)) == 1 for row in zip(*read, strict=True)) / len(clips),
            "right_by_window": [accuracy(part, [w[name] for w in wanted]).share for part in read],
        }
    return result


def long_render(scenes: Sequence[Scene], frames: int, height: int, width: int) -> Tensor:
    """The same scenes taking as long as `frames` at `FPS`: float (B, 3, T, H, W) in [-1, 1]."""
    slow = [replace(scene, duration=frames / FPS) for scene in scenes]
    return to_float(render(slow, num_frames=frames, height=height, width=width, fps=FPS))


def evaluate_long(
    pipeline: LongTextToVideo,
    num_prompts: int = 32,
    seed: int = 0,
    steps: int | None = None,
    batch_size: int = 4,
    guidance_scale: float | None = None,
    progress: Progress | None = None,
    judge: VideoJudge | None = None,
    times: int = 4,
    overlap: int | None = None,
) -> dict[str, Any]:
    """Judge clips of `times` the trained length for seams and drift, beside the controls.

    overlap: frames that neighbouring windows share where borders are looked for; half a window if left out (the
        pipeline begins one at every latent frame, which leaves no place of another kind to compare with).
    progress(done, total) counts clips, the short ones of the controls too. The result holds plain numbers only:

    - "long": clips in windows; "true": renders as long; both have window borders.
    - "joined": clips of the same prompt with other seeds, one behind the other; "strangers": of other prompts.
    """
    if num_prompts < 2 or batch_size < 1 or times < 2:
        raise UserError(
            f"num_prompts={num_prompts}, batch_size={batch_size}, times={times}: expected at least 2, 1 and 2"
        )
    judge = judge or VideoJudge.load()
    window, height, width = pipeline.max_size
    frames = times * window
    chosen = {k: v for k, v in (("steps", steps), ("guidance_scale", guidance_scale)) if v is not None}
    scenes = held_out_scenes("val", num_prompts, seed)
    done, total = 0, num_prompts * (1 + times)

    def made(length: int, first_seed: int) -> Tensor:
        nonlocal done
        parts = []
        for start in range(0, num_prompts, batch_size):
            group = scenes[start : start + batch_size]
            seeds = [first_seed + start + i for i in range(len(group))]
            clips = pipeline.generate(
                [canonical_caption(scene) for scene in group], seeds=seeds, num_frames=length, **chosen
            )
            parts += [to_tensor(clip.video.frames) for clip in clips]
            done += len(group)
            if progress is not None:
                progress(done, total)
        return torch.stack(parts)

    long = made(frames, seed * BLOCK)
    short = [made(window, seed * BLOCK + (k + 1) * num_prompts) for k in range(times)]
    strangers = torch.cat([part.roll(k, 0) for k, part in enumerate(short)], 2)
    borders = window_borders(frames, window, window // 2 if overlap is None else overlap)
    joins = window_borders(frames, window, 0)
    cases: dict[str, tuple[Tensor, list[int]]] = {
        "long": (long, borders),
        "true": (long_render(scenes, frames, height, width), borders),
        "joined": (torch.cat(short, 2), joins),
        "strangers": (strangers, joins),
    }
    return {
        "num_prompts": num_prompts,
        "seed": seed,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "frames": frames,
        "window": window,
        "borders": borders,
        "cases": {
            name: _case(judge, clips, scenes, window, places) for name, (clips, places) in cases.items()
        },
    }


def _case(
    judge: VideoJudge, clips: Tensor, scenes: Sequence[Scene], window: int, borders: Sequence[int]
) -> dict[str, Any]:
    seams = {name: seam(clips, borders, order=order) for name, order in (("change", 1), ("break", 2))}
    return {
        **{
            name: {"ratio": s.ratio, "low": s.low, "high": s.high, "found": s.found}
            for name, s in seams.items()
        },
        "mean_change": float(changes(clips)[:, 1:].mean()),
        "drift": drift(judge, clips, scenes, window),
    }


def table(result: dict[str, Any], number: Callable[[float], str] = "{:.2f}".format) -> str:
    """The result as markdown: a row for each case."""
    head = "| clips | change at borders : halfway [95 %] | break of movement [95 %] |"
    lines = [
        head + "".join(f" {name} stays, % [95 %] |" for name in STEADY),
        "|---|---|---|" + "---|" * len(STEADY),
    ]
    for name, case in result["cases"].items():
        ratios = "".join(
            f" {number(case[k]['ratio'])} [{number(case[k]['low'])}, {number(case[k]['high'])}] |"
            for k in ("change", "break")
        )
        stays = "".join(
            f" {100 * d['same_as_before']:.1f} [{100 * d['low']:.1f}, {100 * d['high']:.1f}] |"
            for d in (case["drift"][a] for a in STEADY)
        )
        lines.append(f"| {name} |{ratios}{stays}")
    return "\n".join(lines)
