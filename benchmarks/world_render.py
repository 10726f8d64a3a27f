"""How fast the Small World is drawn: plain clips of 16 frames of 64x64 with a caption, on one core.

    python benchmarks/world_render.py [--clips 256] [--batch 32] [--repeats 5]

The peer draws the same scenes frame by frame with Pillow (`Image.transform` with an affine map, bilinear, then
`Image.alpha_composite`) from the same backgrounds and sprites, and is held against our pictures in the same run.
Both have their backgrounds painted beforehand; both draw a still camera's background once. Prints a table and JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import PIL
import torch
from PIL import Image

from kinema.world import Scene, WorldSpec, atlas, backgrounds, caption, sample_scene
from kinema.world.motion import pose, view
from kinema.world.renderer import render

FRAMES, SIZE, RATE = 16, 64, 8.0
REQUIRED = 200.0  # clips a second


@lru_cache(maxsize=512)
def _canvas(kind: str, variant: int) -> Image.Image:
    return Image.fromarray(backgrounds.paint(kind, variant, SIZE)[0]).convert("RGBA")


@lru_cache(maxsize=1024)
def _sprite(artwork: int, resolution: int, mirrored: bool) -> Image.Image:
    cell = Image.fromarray(atlas.sheet()[artwork])
    cell = cell.resize((resolution, resolution), Image.Resampling.BOX)
    return cell.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else cell


def _backdrop(scene: Scene, t: float) -> Image.Image:
    """The background through the camera: an affine map from frame pixels to canvas pixels."""
    v = view(scene, t)
    left = (v.x + scene.shift - 0.5 / v.zoom + backgrounds.WIDTH / 2) * SIZE
    top = (v.y - 0.5 / v.zoom + backgrounds.HEIGHT / 2) * SIZE
    affine = (1 / v.zoom, 0.0, left, 0.0, 1 / v.zoom, top)
    return _canvas(scene.background, scene.variant).transform(
        (SIZE, SIZE), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )


def pillow(scenes: Sequence[Scene]) -> torch.Tensor:
    """The peer: uint8 (B, 3, T, H, W), frame by frame and object by object."""
    clips = np.empty((len(scenes), FRAMES, SIZE, SIZE, 3), np.uint8)
    for b, scene in enumerate(scenes):
        still = _backdrop(scene, 0.0) if scene.camera == "static" else None
        for i in range(FRAMES):
            t = i / RATE
            v = view(scene, t)
            frame = still.copy() if still is not None else _backdrop(scene, t)
            for k, actor in reversed(list(enumerate(scene.actors))):
                p = pose(actor, t, scene.duration)
                cell = _sprite(actor.artwork, 32 if k else atlas.CELL, actor.mirrored)
                scale = cell.width / (p.size * v.zoom * SIZE)  # sprite pixels to a frame pixel
                cos, sin = math.cos(p.angle) * scale, math.sin(p.angle) * scale
                cx, cy = ((p.x - v.x) * v.zoom + 0.5) * SIZE, ((p.y - v.y) * v.zoom + 0.5) * SIZE
                half = cell.width / 2
                affine = (cos, sin, half - cos * cx - sin * cy, -sin, cos, half + sin * cx - cos * cy)
                layer = cell.transform(
                    (SIZE, SIZE), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
                )
                frame.alpha_composite(layer)
            clips[b, i] = np.asarray(frame)[..., :3]
    return torch.from_numpy(clips).permute(0, 4, 1, 2, 3).contiguous()


def ours(scenes: Sequence[Scene]) -> torch.Tensor:
    """uint8 (B, 3, T, H, W) at once."""
    return render(scenes, FRAMES, SIZE, SIZE, RATE)


def clips_per_second(
    draw: Callable[[Sequence[Scene]], torch.Tensor], scenes: Sequence[Scene], batch: int, repeats: int
) -> list[float]:
    """Rates of `repeats` passes over all scenes, caption included, by the second of CPU time that they took."""
    rates = []
    for _ in range(repeats):
        start = time.process_time()
        for first in range(0, len(scenes), batch):
            part = scenes[first : first + batch]
            draw(part)
            for scene in part:
                caption(scene)
        rates.append(len(scenes) / (time.process_time() - start))
    return rates


def main() -> None:
    """Measure both ways and print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    spec = WorldSpec(appealing=0.0)
    scenes = [sample_scene("train", i, spec) for i in range(given.clips)]
    some = scenes[: given.batch]
    difference = (ours(some).int() - pillow(some).int()).abs().float()
    clips_per_second(ours, scenes, given.batch, 1)  # paint every background first
    clips_per_second(pillow, scenes, given.batch, 1)
    rates: dict[str, list[float]] = {"kinema": [], "pillow": []}
    for _ in range(given.repeats):  # in turn, so that both see the same machine
        rates["kinema"] += clips_per_second(ours, scenes, given.batch, 1)
        rates["pillow"] += clips_per_second(pillow, scenes, given.batch, 1)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "what": f"RGB and caption of {FRAMES}x{SIZE}x{SIZE} plain clips, one thread, batches of {given.batch}",
        "clips_per_second": {name: round(value, 1) for name, value in middle.items()},
        "spread": {name: [round(min(v), 1), round(max(v), 1)] for name, v in rates.items()},
        "ratio": round(middle["kinema"] / middle["pillow"], 2),
        "required": REQUIRED,
        "enough": middle["kinema"] >= REQUIRED,
        "mean_difference_of_levels": round(float(difference.mean()), 3),
        "versions": {
            "torch": torch.__version__,
            "pillow": PIL.__version__,
            "python": platform.python_version(),
        },
    }
    print(f"{'':28}{'clips/s':>9}{'slowest':>9}{'fastest':>9}{'ratio':>7}")
    for name, label in (("kinema", "kinema, batched with torch"), ("pillow", "Pillow, frame by frame")):
        ratio = middle[name] / middle["pillow"]
        print(f"{label:28}{middle[name]:9.1f}{min(rates[name]):9.1f}{max(rates[name]):9.1f}{ratio:7.2f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
