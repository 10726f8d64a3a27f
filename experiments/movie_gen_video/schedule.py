"""The linear-quadratic schedule against equal steps on nano.

    python experiments/movie_gen_video/schedule.py

Clips of held-out captions, judged, for 6 to 50 steps of both schedules from the same noise, guidance 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kinema.eval.frechet import frechet_distance
from kinema.eval.movie_gen_video import held_out_scenes
from kinema.eval.reports import spread, summary
from kinema.eval.runs import Run, arguments, run_all
from kinema.flow.guidance import guided
from kinema.flow.solvers import euler
from kinema.systems.movie_gen.video.tags import tagged
from kinema.text.states import TextStates
from kinema.train import Precision, make_generator
from kinema.train.blocks import compile_blocks
from kinema.world.captions import canonical_caption
from kinema.world.judges.lessons import to_float
from kinema.world.judges.video import VideoJudge
from kinema.world.renderer import render

from judging import SHOWN, shares
from reporting import finish, table
from sampling import GUIDANCE_SCALE, SCHEDULES
from world import FPS, nano_parts

NAME = "schedule"
FIGURES = (*SHOWN, "all four", "frechet")


class Nano:
    """The shipped model over held-out captions of a seed, and what true renders of the same scenes get."""

    def __init__(self, prompts: int, compiled: bool) -> None:
        self.parts, self.weights = nano_parts()
        self.prompts, self.judge, self.precision = prompts, VideoJudge.load(), Precision.choose("auto", "cpu")
        if compiled:
            compile_blocks(self.parts.transformer)

    @torch.inference_mode()
    def true_renders(self, seed: int) -> tuple[dict[str, float], Tensor]:
        """Figures of true renders, with the Frechet distance to as many others; features of the first (N, D)."""
        scenes = held_out_scenes("val", 2 * self.prompts, seed)
        readings, features = self.judge.study(to_float(render(scenes)))
        ours, others = features.split(self.prompts)
        row = shares([r.labels() for r in readings[: self.prompts]], scenes[: self.prompts])
        return row | {"frechet": frechet_distance(ours, others)}, ours

    @torch.inference_mode()
    def score(self, times: Tensor, seed: int, true_features: Tensor) -> dict[str, float]:
        """Figures of the clips that Euler makes along `times`; a seed's noise is the same for all of them."""
        parts, model, prompts = self.parts, self.parts.transformer, self.prompts
        scenes = held_out_scenes("val", prompts, seed)
        texts = [tagged(canonical_caption(s), FPS, s.camera) for s in scenes]
        states = parts.read(texts + [""] * prompts, one_length=True)
        noise = torch.randn(
            prompts, *parts.codec.spec.latent_shape(16, 64, 64), generator=make_generator(seed, "noise")
        )
        labels, made = list[dict[str, str]](), []
        for rows in torch.arange(prompts).split(16):
            both = torch.cat([rows, rows + prompts])
            with self.precision.autocast():
                condition = model.prepare([TextStates(part.embeds[both], part.mask[both]) for part in states])

            def network(x: Tensor, t: Tensor, condition: Any = condition) -> Tensor:
                with self.precision.autocast():
                    return model(x, t, condition)

            latent = euler(guided(network, GUIDANCE_SCALE), noise[rows], times)
            readings, features = self.judge.study(parts.codec.decode(latent, 16))
            labels += [r.labels() for r in readings]
            made.append(features)
        return shares(labels, scenes) | {"frechet": frechet_distance(torch.cat(made), true_features)}


def draw(result: Mapping[str, Any], steps: Sequence[int]) -> Any:
    """One panel a figure: a line a schedule over steps, true renders dotted."""

    def fill(figure: Any) -> None:
        shown = ("identity", "motion", "all four", "frechet")
        for axis, figure_name in zip(figure.subplots(1, len(shown)), shown, strict=True):
            for name in SCHEDULES:
                cells = [result["arms"][f"{name}, {n} steps"][figure_name] for n in steps]
                mean, std = [c["mean"] for c in cells], [c["std"] for c in cells]
                axis.errorbar(steps, mean, std, marker=".", capsize=3, label=name)
            axis.axhline(
                result["true_renders"][figure_name]["mean"], ls=":", color="grey", label="true renders"
            )
            axis.set(xscale="log", xlabel="steps", title=figure_name)
            axis.set_xticks(steps, [str(n) for n in steps])
            axis.minorticks_off()
            axis.legend(fontsize=7)
            axis.spines[["top", "right"]].set_visible(False)

    return fill


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    steps, prompts = ((2, 3), 4) if given.quick else ((6, 12, 25, 50), 32)
    nano = Nano(prompts, compiled=not given.quick)
    settings = {
        "prompts_a_seed": prompts,
        "guidance": GUIDANCE_SCALE,
        "emulate": 250,
        "weights": nano.weights,
    }
    true = [nano.true_renders(seed) for seed in range(given.seeds)]
    ceiling = [figures for figures, _ in true]
    runs, spent = run_all(
        NAME,
        given,
        [
            Run(
                f"{name}, {n} steps",
                seed,
                settings,
                lambda times=times, n=n, seed=seed: nano.score(times(n), seed, true[seed][1]),
            )
            for seed in range(given.seeds)
            for n in steps
            for name, times in SCHEDULES.items()
        ],
    )
    result = {
        "settings": settings,
        "arms": summary(runs),
        "true_renders": {f: spread([row[f] for row in ceiling]) for f in FIGURES},
    }
    print(table(result["arms"] | {"true renders": result["true_renders"]}, FIGURES))
    finish(NAME, given, spent, result, draw(result, steps), (13, 3.4))


if __name__ == "__main__":
    main()
