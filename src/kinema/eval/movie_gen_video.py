"""Does a text-to-video pipeline make what it was asked for? Held-out prompts of the Small World, read by its judge.

Prompts come from scenes: `val` has compositions of object and motion that training saw, `test-pairs` ones that it never
saw together. A quarter as many prompts have a sign with a word that training never saw. Generated clips and true
renders of the same scenes are read by the same judge, so each score stands beside the best one that this judge could
give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.eval.frechet import frechet_distance
from kinema.eval.judged import accuracy, worst_confusions
from kinema.eval.signs import evaluate_signs
from kinema.media import Video, to_tensor
from kinema.world.captions import canonical_caption
from kinema.world.judges.labels import ATTRIBUTES, truth
from kinema.world.judges.lessons import to_float
from kinema.world.judges.video import VideoJudge, prepared
from kinema.world.renderer import render
from kinema.world.scene import SPLITS, Scene, WorldSpec, sample_scene

BLOCK = 1_000_000  # scenes between the first prompts of two seeds
EVERYTHING = "everything"  # all attributes of a clip right at once
Progress = Callable[[int, int], None]


class Generated(Protocol):
    """What a pipeline gives back for a prompt."""

    @property
    def video(self) -> Video:
        """The clip."""


class TextToVideo(Protocol):
    """The part of a pipeline that is judged. `steps` and `guidance_scale` are passed on when they are given."""

    def generate(
        self, prompts: Sequence[str], *, seeds: Sequence[int], **settings: Any
    ) -> Sequence[Generated]:
        """One clip for each prompt."""


def held_out_scenes(split: str, count: int, seed: int = 0) -> list[Scene]:
    """`count` scenes of a split in the nano vocabulary; every seed has its own."""
    if split not in SPLITS or split == "train":
        raise UserError(f"there is no held-out split {split!r}: it is one of {', '.join(SPLITS[1:])}")
    spec = WorldSpec(vocabulary="nano")
    return [sample_scene(split, seed * BLOCK + index, spec) for index in range(count)]


def evaluate(
    pipeline: TextToVideo,
    num_prompts: int = 512,
    seed: int = 0,
    splits: Sequence[str] = ("val", "test-pairs"),
    steps: int | None = None,
    batch_size: int = 16,
    guidance_scale: float | None = None,
    progress: Progress | None = None,
    judge: VideoJudge | None = None,
    signs: bool = True,
) -> dict[str, Any]:
    """Generate a clip for `num_prompts` canonical captions of each split and have them judged.

    progress(done, total) is called after every batch. The result holds plain numbers only (it goes into JSON): for
    each split and attribute the accuracy with its 95 % interval, that of the judge on true renders of the same scenes,
    the most frequent mistakes, and the Frechet distance on the judge's features to the true clips, with the distance
    between two sets of true clips as the floor. `signs` adds the words that signs say, on a quarter of the count.
    """
    if num_prompts < 2 or batch_size < 1:
        raise UserError(
            f"num_prompts={num_prompts}, batch_size={batch_size}: expected at least 2 prompts and 1 a batch"
        )
    if not 0 <= seed <= 1000:
        raise UserError(f"seed is {seed}: expected 0 to 1000")
    judge = judge or VideoJudge.load()
    settings = {"steps": steps, "guidance_scale": guidance_scale}
    chosen: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    scenes = {split: held_out_scenes(split, num_prompts, seed) for split in splits}
    worded = max(num_prompts // 4, 2) if signs else 0
    done, total, result = 0, num_prompts * len(scenes) + worded, dict[str, Any]()
    for split, own in scenes.items():
        told, parts = list[dict[str, str]](), list[Tensor]()
        for start in range(0, num_prompts, batch_size):
            group = own[start : start + batch_size]
            prompts = [canonical_caption(scene) for scene in group]
            seeds = [seed * BLOCK + start + i for i in range(len(group))]
            clips = pipeline.generate(prompts, seeds=seeds, **chosen)
            if len(clips) != len(group):
                raise UserError(
                    f"the pipeline made {len(clips)} clips of {len(group)} prompts: expected one each"
                )
            labels, features = _judged(
                judge, torch.cat([prepared(to_tensor(c.video.frames)[None]) for c in clips])
            )
            told += labels
            parts.append(features)
            done += len(group)
            if progress is not None:
                progress(done, total)
        result[split] = _report(
            judge, own, told, torch.cat(parts), held_out_scenes(split, 2 * num_prompts, seed)
        )
    spelled = None
    if signs:
        spelled = evaluate_signs(
            pipeline,
            worded,
            seed,
            batch_size,
            progress=(lambda made, _: progress(done + made, total)) if progress else None,
            **chosen,
        )
    return {
        "num_prompts": num_prompts,
        "seed": seed,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "judge": judge.accuracy,
        "splits": result,
        "signs": spelled,
    }


def _judged(judge: VideoJudge, clips: Tensor) -> tuple[list[dict[str, str]], Tensor]:
    """Labels and features of clips (B, 3, 16, 64, 64), in one pass of the networks."""
    labels, features = judge.study(clips)
    return [reading.labels() for reading in labels], features


def _true_clips(
    judge: VideoJudge, scenes: Sequence[Scene], batch_size: int = 32
) -> tuple[list[dict[str, str]], Tensor]:
    told, parts = list[dict[str, str]](), list[Tensor]()
    for start in range(0, len(scenes), batch_size):
        labels, features = _judged(judge, to_float(render(scenes[start : start + batch_size])))
        told += labels
        parts.append(features)
    return told, torch.cat(parts)


def _columns(rows: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    columns = {a: [row[a] for row in rows] for a in ATTRIBUTES}
    columns[EVERYTHING] = [" | ".join(row[a] for a in ATTRIBUTES) for row in rows]
    return columns


def _report(
    judge: VideoJudge,
    scenes: Sequence[Scene],
    told: Sequence[Mapping[str, str]],
    features: Tensor,
    more: Sequence[Scene],
) -> dict[str, Any]:
    """One split. `more` has the same scenes first and as many others of the split after them."""
    true_told, true_features = _true_clips(judge, more)
    count = len(scenes)
    wanted, made = _columns([truth(scene) for scene in scenes]), _columns(told)
    best = _columns(true_told[:count])
    attributes = {}
    for name, right in wanted.items():
        score, ceiling = accuracy(made[name], right), accuracy(best[name], right)
        attributes[name] = {
            "accuracy": score.share,
            "low": score.low,
            "high": score.high,
            "true_renders": ceiling.share,
            "mistakes": [] if name == EVERYTHING else [list(m) for m in worst_confusions(made[name], right)],
        }
    return {
        "clips": count,
        "attributes": attributes,
        "frechet": frechet_distance(features, true_features[:count]),
        "frechet_floor": frechet_distance(true_features[:count], true_features[count:]),
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as markdown: a row an attribute, and for each split the score, its interval and the judge's best."""
    splits: Mapping[str, Any] = result["splits"]
    head = "| attribute |" + "".join(f" {s}, % [95 %] | {s}, true renders |" for s in splits)
    lines = [head, "|---|" + "---|---|" * len(splits)]
    for name in (*ATTRIBUTES, EVERYTHING):
        cells = [split["attributes"][name] for split in splits.values()]
        lines.append(
            f"| {name} |"
            + "".join(
                f" {100 * c['accuracy']:.1f} [{100 * c['low']:.1f}, {100 * c['high']:.1f}] |"
                f" {100 * c['true_renders']:.1f} |"
                for c in cells
            )
        )
    distances = "".join(f" {s['frechet']:.2f} | {s['frechet_floor']:.2f} |" for s in splits.values())
    lines.append(f"| Frechet distance, floor beside it |{distances}")
    clips = ", ".join(f"{split['clips']} {name}" for name, split in splits.items())
    asked = f"steps {result['steps'] or 'default'}, guidance {result['guidance_scale'] or 'default'}"
    if spelled := result.get("signs"):
        share = f"{100 * spelled['exact']:.1f} [{100 * spelled['low']:.1f}, {100 * spelled['high']:.1f}]"
        lines.append(
            f"| quoted words on signs, never seen | {share} | {100 * spelled['true_renders']:.1f} |"
            + " | |" * (len(splits) - 1)
        )
        clips += f", {spelled['clips']} with signs"
    lines += ["", f"Clips: {clips}; seed {result['seed']}; {asked}."]
    return "\n".join(lines)
