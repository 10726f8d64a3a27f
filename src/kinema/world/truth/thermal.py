"""Temperature in degrees Celsius: warm bodies, hot engines, cold sweets, under a sky that is always colder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from kinema.world.finish import _blur
from kinema.world.renderer import pixel_grid
from kinema.world.scene import Actor, Scene
from kinema.world.truth.depth import horizon
from kinema.world.truth.layers import layers

# kind -> degrees of the air, and of the zenith (a room's wall and the sea have no sky)
AIR: dict[str, tuple[float, float]] = {
    "meadow": (18.0, -12.0),
    "night sky": (8.0, -30.0),
    "beach": (27.0, -4.0),
    "snow": (-6.0, -26.0),
    "desert": (36.0, 2.0),
    "city": (22.0, -8.0),
    "forest": (15.0, 9.0),
    "room": (21.0, 22.0),
    "sunset": (20.0, -10.0),
    "underwater": (12.0, 16.0),
}
# kind -> degrees that the ground is warmer than the air
GROUND: dict[str, float] = {
    "beach": 9.0,
    "desert": 14.0,
    "city": 6.0,
    "snow": -4.0,
    "night sky": -3.0,
    "room": -2.0,
}
# families that heat themselves, and meals; all else takes the air's temperature
WARM: dict[str, float] = {
    "mammal": 36.0,
    "bird": 38.5,
    "face": 34.5,
    "meal": 52.0,
    "vehicle": 46.0,
    "aircraft": 58.0,
}
OWN: dict[str, float] = {
    "rocket": 160.0,
    "comet": -60.0,
    "phoenix": 90.0,
    "dragon": 60.0,
    "hot coffee": 68.0,
    "teapot": 62.0,
    "steaming bowl": 72.0,
    "sake": 48.0,
    "candle": 120.0,
    "red lantern": 60.0,
    "light bulb": 85.0,
    "flashlight": 45.0,
    "jack-o-lantern": 48.0,
    "laptop": 39.0,
    "television": 38.0,
    "printer": 34.0,
    "film projector": 48.0,
    "robot": 33.0,
    "ice cream": -8.0,
    "shaved ice": -3.0,
    "snowman": -2.0,
    "cold face": 4.0,
    "hot face": 39.5,
    "skull": 16.0,
    "ghost": 3.0,
    "sushi": 8.0,
    "sandwich": 15.0,
    "green salad": 9.0,
    "rice ball": 18.0,
    "cheese wedge": 10.0,
    "fortune cookie": 21.0,
    "beer mug": 5.0,
    "glass of milk": 6.0,
    "cocktail glass": 2.0,
    "tropical drink": 3.0,
    "cup with straw": 4.0,
    "bubble tea": 6.0,
    "bicycle": 24.0,
    "skateboard": 24.0,
    "kick scooter": 24.0,
    "roller skate": 24.0,
    "sled": 0.0,
    "parachute": 20.0,
    "kite": 20.0,
    "satellite": -40.0,
}
# bare matter sits off the air's temperature: bright metal shows the cold sky, dark rubber the sun
MATTER: dict[str, float] = {
    "soft": 0.5,
    "wood": 1.5,
    "metal": -3.5,
    "glass": -2.0,
    "rubber": 4.0,
    "plastic": 2.0,
    "stone": 3.0,
}


@lru_cache(maxsize=4096)
def temperature(actor: Actor, background: str) -> float:
    """Degrees at an actor's warmest place; every object keeps its own degree or two, the same in every scene."""
    own = random.Random(f"heat:{actor.name}").uniform(-1.5, 1.5)
    if actor.name in OWN:
        return OWN[actor.name] + 0.3 * own
    if actor.family in WARM:
        return WARM[actor.family] + own
    return AIR[background][0] + MATTER[actor.material] + own


def _background_rows(scene: Scene, y: Tensor) -> Tensor:
    """Degrees by height on the panorama: colder towards the zenith, the ground's own below the horizon."""
    air, zenith = AIR[scene.background]
    edge = horizon(scene.background)
    up = ((edge - y) / (edge + 1)).clamp(0, 1).sqrt()
    down = ((y - edge) / 0.1).clamp(0, 1)
    return air + (zenith - air) * up + GROUND.get(scene.background, 1.0) * down


def thermal(
    scenes: Sequence[Scene], num_frames: int = 16, height: int = 64, width: int = 64, fps: float = 8.0
) -> Tensor:
    """Degrees Celsius that a thermal camera on the same axis would show: float32 (B, 1, T, H, W).

    A body is warmest in its middle and falls off by a quarter of its excess towards its rim; the optics are soft
    (a tent of about a fortieth of the frame height).

    Raises:
        UserError: the size cannot be drawn, or there are no scenes.
    """
    apart = layers(scenes, num_frames, height, width, fps)
    geo, place = apart.geometry, pixel_grid(height, width)
    y = place[:, 0, 1] / geo.camera[..., 2:] + geo.camera[..., 1:2]  # (B, T, H)
    rows = torch.stack([_background_rows(scene, y[b]) for b, scene in enumerate(scenes)])
    boards = torch.tensor([AIR[s.background][0] + MATTER["wood"] for s in scenes])[:, None, None, None]
    picture = rows[..., None] * apart.behind[:, 0] + boards * apart.sign[:, 0]
    for k in range(geo.size.shape[1]):
        peak, air = torch.zeros(len(scenes)), torch.zeros(len(scenes))
        for b, scene in enumerate(scenes):
            if k < len(scene.actors):
                peak[b], air[b] = temperature(scene.actors[k], scene.background), AIR[scene.background][0]
        peak, air = peak[:, None, None, None], air[:, None, None, None]
        offset = (place - geo.centre[:, k, :, None, None]) / geo.size[:, k, :, None, None, None].clamp(
            min=1e-3
        )
        rim = (2 * offset.norm(dim=-1)).clamp(max=1.2).square()  # 0 in the middle, 1 at the square's edge
        picture = picture + apart.visible[:, k] * (peak - 0.25 * (peak - air) * rim)
    soft = _blur(picture.flatten(0, 1)[:, None], round(height / 64))
    return soft[:, 0].unflatten(0, picture.shape[:2])[:, None]
