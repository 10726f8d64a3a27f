from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kinema.world import Actor, Scene, sample_scene
from kinema.world.atlas import by_name


@pytest.fixture(scope="session")
def an_actor() -> Callable[..., Actor]:
    """One object in the middle, half a frame high, three metres away."""

    def build(name: str = "fox", motion: str = "rest", direction: str = "none", **changes: Any) -> Actor:
        settings: dict[str, Any] = {
            "x": 0.0,
            "y": 0.0,
            "size": 0.5,
            "depth": 3.0,
            "amplitude": 1.0,
            "phase": 0.25,
            "mirrored": False,
        }
        return Actor(
            artwork=by_name()[name].index, motion=motion, direction=direction, **(settings | changes)
        )

    return build


@pytest.fixture(scope="session")
def a_scene(an_actor: Callable[..., Actor]) -> Callable[..., Scene]:
    """A plain meadow of two seconds with these actors, a resting fox if there are none."""

    def build(*actors: Actor, camera: str = "static", amount: float = 0.0, **changes: Any) -> Scene:
        settings = {
            "finish": "plain",
            "background": "meadow",
            "variant": 0,
            "shift": 0.0,
            "duration": 2.0,
            "seed": 7,
        }
        return replace(
            sample_scene("train", 0),
            actors=actors or (an_actor(),),
            camera=camera,
            camera_amount=amount,
            **(settings | changes),
        )

    return build
