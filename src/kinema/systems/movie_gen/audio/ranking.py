"""Which of several sounds fits best: what is seen in the frames, or said in the words, against what the judge hears.

The paper makes eight candidates and keeps the best by an automatic score whose mix it does not give. Ours is the mean
of what can be asked: impacts within 40 ms of those that the frame encoder sees, its material, and the background.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kinema.eval.onsets import score_onsets
from kinema.media import Sound, Video
from kinema.systems.movie_gen.audio.visual import REACH, FrameNet
from kinema.world.judges.audio import AudioJudge, Reading
from kinema.world.scene import BACKGROUNDS
from kinema.world.sound.events import MATERIALS
from kinema.world.sound.words import BED_PHRASES

NEAR = 0.06  # seconds between two frames' times of one impact


@dataclass(frozen=True)
class Expected:
    """What should be heard; None where nothing is known of it."""

    impacts: tuple[float, ...] | None = None  # times (s)
    material: str | None = None
    background: str | None = None


@torch.no_grad()
def expected_of(frames: FrameNet, video: Video) -> Expected:
    """What a clip's frames make one expect. Of an encoder without heads: nothing."""
    told = frames.told(frames.encode(torch.from_numpy(video.frames), video.fps))
    if not told.keys() >= {"events", "material", "background"}:
        return Expected()
    struck, when, _ = told["events"].unbind(1)  # (T,)
    times = [k / video.fps + REACH * float(when[k]) for k in (struck > 0).nonzero()[:, 0].tolist()]
    impacts = tuple(sum(group) / len(group) for group in _groups(sorted(times)))
    names = {"material": MATERIALS, "background": BACKGROUNDS}
    best = {name: names[name][int(told[name].log_softmax(1).mean(0).argmax())] for name in names}
    return Expected(impacts, best["material"] if impacts else None, best["background"])


def _groups(times: Sequence[float]) -> list[list[float]]:
    """Neighbours less than NEAR apart, together."""
    found: list[list[float]] = []
    for time in times:
        if found and time - found[-1][-1] < NEAR:
            found[-1].append(time)
        else:
            found.append([time])
    return found


def expected_in(prompt: str) -> Expected:
    """What a prompt in the words of the Small World's sounds says."""
    text = prompt.lower()
    places = {p: place for place, phrases in BED_PHRASES.items() for p in phrases if p in text}
    materials = [m for m in MATERIALS if re.search(rf"\b{m}\b", text)]
    return Expected(
        material=materials[0] if len(materials) == 1 else None,
        background=places[max(places, key=len)] if places else None,
    )


def agreement(expected: Expected, reading: Reading) -> float:
    """The mean of what can be asked, from 0 to 1; 0 where nothing can."""
    felt = [heard for heard in reading.events if heard.kind == "impact"]
    marks = list[float]()
    if expected.impacts is not None:
        score = score_onsets(expected.impacts, [heard.time for heard in felt])
        marks.append(score.f1 if expected.impacts or felt else 1.0)
    if expected.material is not None:
        commonest = Counter(heard.sound for heard in felt).most_common(1)
        marks.append(float(bool(commonest) and commonest[0][0] == expected.material))
    if expected.background is not None:
        right = reading.background == expected.background
        marks.append(reading.background_confidence if right else 1 - reading.background_confidence)
    return sum(marks) / len(marks) if marks else 0.0


class Agreement:
    """The `score` of `MovieGenAudio.generate`: (candidates, video, prompt) -> a number each."""

    def __init__(self, frames: object, judge: AudioJudge | None = None) -> None:
        self.frames, self.judge = frames, judge

    def __call__(self, sounds: Sequence[Sound], video: Video | None, prompt: str) -> list[float]:
        """Larger is better. What the frames show goes before what the words say."""
        judge, said = self.judge or AudioJudge.load(), expected_in(prompt)
        if video is not None and isinstance(self.frames, FrameNet):
            seen = expected_of(self.frames, video)
            said = Expected(seen.impacts, seen.material or said.material, said.background or seen.background)
        waves = [torch.from_numpy(sound.samples).mean(0)[None, None] for sound in sounds]
        return [
            agreement(said, judge.read(wave, sound.rate)[0])
            for wave, sound in zip(waves, sounds, strict=True)
        ]
