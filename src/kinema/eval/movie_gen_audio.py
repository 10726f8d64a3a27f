"""Does a video-to-sound pipeline make what the picture shows, when it shows it? Held-out scenes, heard by the judge.

Impacts have a visible cause and an exact time: a heard impact within 40 ms of a true one is a hit. Beside the sounds
stand two controls, the same sounds against another clip's truth and sounds made without the video, and two bounds,
the true sound and the true sound through the codec.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.eval.judged import accuracy
from kinema.eval.movie_gen_video import BLOCK, Progress, held_out_scenes
from kinema.eval.onsets import TOLERANCE, score_clips
from kinema.media import Sound, Video
from kinema.world.judges.audio import AudioJudge, Reading
from kinema.world.renderer import render
from kinema.world.scene import Scene
from kinema.world.sound.events import onsets, sound_class
from kinema.world.sound.matching import match_times
from kinema.world.sound.mix import render_sound
from kinema.world.sound.words import sound_caption

FPS = 16.0  # the paper's video
RATE = 48000
NOTHING = "nothing"  # what is heard where no event of the kind is
ARMS = ("video", "video and text", "text alone", "nothing")


class SoundMaker(Protocol):
    """The part of a pipeline that is judged. `steps` and `guidance_scale` are passed on when they are given."""

    def sound_for(self, video: Video, prompt: str = "", seed: int = 0, **settings: Any) -> Sound:
        """Sound for a clip."""

    def generate(
        self, prompts: Sequence[str], *, seconds: float, seeds: Sequence[int], **settings: Any
    ) -> Sequence[Sound]:
        """Sounds from words alone."""

    def round_trip(self, sound: Sound) -> Sound:
        """A sound through the codec."""


def judged(
    readings: Sequence[Reading], scenes: Sequence[Scene], tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """What the judge heard against what scenes sound like.

    - "impacts", "onsets": F1, precision, recall and mean error (ms) of times; an impact must be heard as one.
    - "material_of_hits": right materials among matched impacts.
    - "material", "creature": of the clips that have impacts (calls), those whose commonest heard class is right;
      hearing none is wrong. "bed": right backgrounds.
    """
    kinds: dict[str, tuple[str, ...]] = {"impacts": ("impact",), "onsets": ("impact", "call", "note")}
    result: dict[str, Any] = {}
    for name, wanted in kinds.items():
        score = score_clips(
            (
                (
                    [event.time for event in onsets(scene, wanted)],
                    [heard.time for heard in reading.events if heard.kind in wanted],
                )
                for scene, reading in zip(scenes, readings, strict=True)
            ),
            tolerance,
        )
        result[name] = {
            "f1": score.f1,
            "precision": score.precision,
            "recall": score.recall,
            "error_ms": 1000 * score.mean_error,
            "true": score.references,
            "heard": score.detections,
        }
    answers, truths = list[str](), list[str]()
    for scene, reading in zip(scenes, readings, strict=True):
        true = onsets(scene, ("impact",))
        felt = [heard for heard in reading.events if heard.kind == "impact"]
        for i, j in match_times([e.time for e in true], [h.time for h in felt], tolerance):
            answers.append(felt[j].sound)
            truths.append(sound_class(scene, true[i]))
    result["material_of_hits"] = _share(answers, truths)
    for name, kind in (("material", "impact"), ("creature", "call")):
        pairs = [
            (
                _commonest(reading, kind),
                Counter(sound_class(s, e) for e in onsets(s, (kind,))).most_common(1)[0][0],
            )
            for s, reading in zip(scenes, readings, strict=True)
            if onsets(s, (kind,))
        ]
        result[name] = _share([a for a, _ in pairs], [b for _, b in pairs])
    result["bed"] = _share([r.background for r in readings], [s.background for s in scenes])
    return result


def _commonest(reading: Reading, kind: str) -> str:
    heard = Counter(event.sound for event in reading.events if event.kind == kind)
    return heard.most_common(1)[0][0] if heard else NOTHING


def _share(answers: Sequence[str], truths: Sequence[str]) -> dict[str, Any] | None:
    """A share with its interval and count; None where there is nothing to count."""
    if not truths:
        return None
    found = accuracy(answers, truths)
    return {"share": found.share, "low": found.low, "high": found.high, "of": found.total}


def evaluate(
    pipeline: SoundMaker,
    num_prompts: int = 128,
    seed: int = 0,
    split: str = "val",
    fps: float = FPS,
    steps: int | None = None,
    guidance_scale: float | None = None,
    arms: Sequence[str] = ARMS,
    progress: Progress | None = None,
    judge: AudioJudge | None = None,
) -> dict[str, Any]:
    """Make sound for held-out clips and have it judged, beside controls and bounds.

    progress(done, total) counts sounds made. The result holds plain numbers only; under "arms":

    - "video", "video and text", "text alone", "nothing": what the pipeline was given.
    - "shuffled": the sounds of "video", each against the next clip's truth.
    - "codec", "true": the true sound, through the codec and as it is.
    """
    if num_prompts < 2 or not 0 <= seed <= 1000:
        raise UserError(
            f"num_prompts={num_prompts}, seed={seed}: expected at least 2 and a seed from 0 to 1000"
        )
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown:
        raise UserError(f"there is no arm {unknown[0]!r}: choose of {', '.join(ARMS)}")
    judge = judge or AudioJudge.load()
    settings = {"steps": steps, "guidance_scale": guidance_scale}
    chosen: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    scenes = held_out_scenes(split, num_prompts, seed)
    readings: dict[str, list[Reading]] = {name: [] for name in (*arms, "codec", "true")}
    done, total = 0, num_prompts * len(arms)
    for number, scene in enumerate(scenes):
        video = true_video(scene, fps)
        words, own = sound_caption(scene, 0), seed * BLOCK + number
        makers: dict[str, Callable[[], Sound]] = {
            "video": lambda: pipeline.sound_for(video, seed=own, **chosen),  # noqa: B023  called at once
            "video and text": lambda: pipeline.sound_for(video, words, seed=own, **chosen),  # noqa: B023
            "text alone": lambda: pipeline.generate([words], seconds=video.seconds, seeds=[own], **chosen)[0],  # noqa: B023
            "nothing": lambda: pipeline.generate([""], seconds=video.seconds, seeds=[own], **chosen)[0],  # noqa: B023
        }
        for arm in arms:
            readings[arm] += hear(judge, makers[arm]())
            done += 1
            if progress is not None:
                progress(done, total)
        assert video.sound is not None
        readings["codec"] += hear(judge, pipeline.round_trip(video.sound))
        readings["true"] += hear(judge, video.sound)
    report = {name: judged(heard, scenes) for name, heard in readings.items()}
    if "video" in readings:
        report["shuffled"] = judged(readings["video"][1:] + readings["video"][:1], scenes)
    return {
        "num_prompts": num_prompts,
        "seed": seed,
        "split": split,
        "fps": fps,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "judge": judge.accuracy,
        "arms": report,
    }


def true_video(scene: Scene, fps: float = FPS) -> Video:
    """A scene's frames with its own sound."""
    frames = render([scene], round(scene.duration * fps), fps=fps)[0]  # (3, T, H, W)
    sound = render_sound([scene], RATE)[0]
    return Video(frames.permute(1, 2, 3, 0).contiguous().numpy(), fps, Sound(sound.numpy(), RATE))


def hear(judge: AudioJudge, sound: Sound) -> list[Reading]:
    """What the judge hears in one sound, mixed down to mono."""
    mono: Tensor = torch.from_numpy(sound.samples).mean(0)[None, None]
    return judge.read(mono, sound.rate)


def table(result: dict[str, Any]) -> str:
    """The result as markdown: a row for each arm."""
    lines = [
        "| given | impacts F1, % | mean error, ms | material of hits, % | material, % [95 %] | creature, % [95 %] "
        "| background, % [95 %] |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, arm in result["arms"].items():
        cells = [_cell(arm[key]) for key in ("material", "creature", "bed")]
        hits = arm["material_of_hits"]
        lines.append(
            f"| {name} | {100 * arm['impacts']['f1']:.1f} | {arm['impacts']['error_ms']:.1f} | "
            f"{'-' if hits is None else format(100 * hits['share'], '.1f')} | {' | '.join(cells)} |"
        )
    return "\n".join(
        [*lines, "", f"Clips: {result['num_prompts']} of {result['split']}; seed {result['seed']}."]
    )


def _cell(share: dict[str, Any] | None) -> str:
    if share is None:
        return "-"
    return f"{100 * share['share']:.1f} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"
