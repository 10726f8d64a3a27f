"""The data of the experiments that train on the easy world.

Nano's codec and its text encoder stand still, so each is run once over the data; what comes out is kept in a temporary
folder that all commands share.
"""

# N clips or pictures, C latent channels, T H W latent frames, rows, columns, D width of the features

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kinema.eval.frechet import frechet_distance
from kinema.eval.runs import scratch
from kinema.systems.movie_gen.video.parts import Parts
from kinema.systems.movie_gen.video.tags import tagged
from kinema.text.states import TextStates
from kinema.train import derive_seed
from kinema.world.captions import canonical_caption
from kinema.world.judges.lessons import to_float
from kinema.world.renderer import render
from kinema.world.scene import Scene

from judging import judged, shares
from world import ACTIONS, FPS, FRAMES, OBJECTS, PLACES, SIZE, SPEC, easy_scenes, nano_parts


@dataclass
class Encoded:
    """Latents (N, C, T, H, W) and, for each, the row of its caption in a table of texts."""

    latent: Tensor
    text: Tensor


@dataclass
class Study:
    """Everything that an experiment trains and judges with. Row 0 of `texts` is the empty text."""

    parts: Parts
    weights: str
    texts: TextStates
    clips: Encoded
    pictures: Encoded
    held_out: Encoded
    scenes: list[Scene]  # of held_out
    true_features: Tensor  # of held_out, through the codec
    ceiling: dict[str, float]  # what the judge reads from them
    frechet_floor: float  # between these and as many other true clips
    cpu_seconds: float  # that rendering and encoding took

    def states(self, rows: Tensor) -> TextStates:
        """Text states of rows of the table."""
        return TextStates(self.texts.embeds[rows], self.texts.mask[rows])


def load_study(quick: bool = False, clips: int = 2000, pictures: int = 6000, held_out: int = 96) -> Study:
    """Render and encode the easy world, or read it from the temporary folder."""
    if quick:
        clips, pictures, held_out = 24, 24, 8
    parts, weights = nano_parts()
    key = derive_seed(repr((clips, pictures, held_out, SPEC, OBJECTS, ACTIONS, PLACES, SIZE, weights)))
    path = scratch() / f"{key:x}.pt"
    if not path.exists():
        began = time.process_time()
        encoded = _encode(parts, clips, pictures, held_out)
        torch.save(encoded | {"cpu_seconds": time.process_time() - began}, path)
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return Study(
        parts=parts,
        weights=weights,
        texts=TextStates(found["embeds"], found["mask"]),
        clips=Encoded(*found["clips"]),
        pictures=Encoded(*found["pictures"]),
        held_out=Encoded(*found["held_out"]),
        scenes=easy_scenes("val", held_out),
        true_features=found["true_features"],
        ceiling=found["ceiling"],
        frechet_floor=found["frechet_floor"],
        cpu_seconds=found["cpu_seconds"],
    )


@torch.inference_mode()
def _encode(parts: Parts, clips: int, pictures: int, held_out: int) -> dict[str, Any]:
    train, val = easy_scenes("train", clips + pictures), easy_scenes("val", 2 * held_out)
    captions = [[tagged(canonical_caption(s), FPS) for s in scenes] for scenes in (train, val)]
    table = ["", *sorted({c for part in captions for c in part})]
    states = TextStates.cat([parts.text.encode(table[k : k + 64]) for k in range(0, len(table), 64)])
    rows = [torch.tensor([table.index(c) for c in part]) for part in captions]

    def encode(scenes: Sequence[Scene], frames: int, start: Callable[[Scene], float]) -> Tensor:
        done = []
        for k in range(0, len(scenes), 64):
            part = scenes[k : k + 64]
            pixels = render(part, frames, SIZE, SIZE, FPS, [start(s) for s in part])
            done.append(parts.codec.encode(to_float(pixels)))
        return torch.cat(done)

    moving = encode(train[:clips], FRAMES, lambda s: 0.0)
    still = encode(train[clips:], 1, lambda s: s.duration * (s.seed % 997) / 997)
    seen = encode(val, FRAMES, lambda s: 0.0)
    labels, features = judged(parts, seen)
    return {
        "embeds": states.embeds,
        "mask": states.mask,
        "clips": (moving, rows[0][:clips]),
        "pictures": (still, rows[0][clips:]),
        "held_out": (seen[:held_out], rows[1][:held_out]),
        "true_features": features[:held_out],
        "ceiling": shares(labels[:held_out], val[:held_out]),
        "frechet_floor": frechet_distance(features[:held_out], features[held_out:]),
    }
