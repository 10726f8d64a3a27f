"""Re-ranking: of several clips for one prompt, the one in which the Small World's judges best see what was asked for.

The paper's comparison clips of other systems were picked by hand; here judges pick. Their own accuracy bounds what
that gains, and figures of `kinema eval` are never taken on clips that a judge has chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kinema.media import Video, to_tensor
from kinema.systems.movie_gen.video.prompt import understand
from kinema.world import atlas
from kinema.world.judges.labels import names
from kinema.world.judges.signs import SignJudge
from kinema.world.judges.video import VideoJudge, prepared

ASKED = ("identity", "colour", "background", "motion", "direction", "camera")


@torch.inference_mode()
def agreement(videos: Sequence[Video], prompt: str) -> list[float]:
    """How well each clip fits the prompt: the judges' log probability of what was asked for, added up.

    A quoted word counts as one more attribute: each of its characters that is read wrong costs a factor of e.
    """
    said = understand(prompt)
    wanted = {
        "identity": said.subject,
        "colour": atlas.by_name()[said.subject].colour,
        "background": said.background,
        "motion": said.motion,
        "direction": said.direction,
        "camera": said.camera,
    }
    clips = torch.cat([prepared(to_tensor(video.frames)[None]) for video in videos])
    scores = torch.zeros(len(videos))
    at = 0
    for probabilities, features in VideoJudge.load().look(clips):
        rows = slice(at, at := at + len(features))
        for name in ASKED:
            right = probabilities[name][:, names()[name].index(wanted[name])]
            scores[rows] += right.clamp_min(1e-4).log().cpu()
    if said.sign:
        for row, reading in enumerate(SignJudge.load().read(clips)):
            scores[row] -= sum(a != b for a, b in zip(said.sign.ljust(8), reading.word.ljust(8)))
    return scores.tolist()
