"""Where things are at a time, and what happens when: poses of actors, the camera's path, and events, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kinema.world.scene import Actor, Scene

GRAVITY = 2.6  # frame heights per second squared: slow enough to be seen at 8 frames a second


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """An actor at one time, in world units: centre, size of its square, angle (clockwise)."""

    x: float
    y: float
    size: float
    angle: float


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """The camera at one time: where it looks, and its magnification."""

    x: float
    y: float
    zoom: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that can be heard: what, when (s), by which actor, how strong (0 to 1), where (x on the screen)."""

    kind: str  # impact, start, stop
    time: float
    actor: int
    strength: float
    x: float


def _hop(actor: Actor) -> tuple[float, float]:
    """Period (s) and height of a bouncing actor's hops."""
    period = 0.78 * actor.amplitude
    return period, GRAVITY * period * period / 8 * 1.35


def _landing(actor: Actor) -> float:
    """When a falling actor reaches the ground."""
    return 0.95 + 0.35 * actor.phase


def pose(actor: Actor, t: float, duration: float = 2.0) -> Pose:
    """The actor's pose at time t (s), defined for every t >= 0."""
    x, y, size, angle = actor.x, actor.y, actor.size, 0.0
    sign = {"left": -1.0, "right": 1.0, "clockwise": 1.0, "counterclockwise": -1.0}.get(actor.direction, 1.0)
    s = min(t / duration, 1.0) if duration > 0 else 0.0
    reach = 0.44 * actor.amplitude
    match actor.motion:
        case "slide":
            x += sign * reach * (s - 0.5)
        case "roll":
            x += sign * reach * (s - 0.5)
            angle = sign * reach * s / (0.5 * size)
        case "bounce":
            period, height = _hop(actor)
            u = (t / period + actor.phase) % 1.0
            x += sign * reach * (s - 0.5)
            y -= height * 4 * u * (1 - u)
        case "jump":
            period, height = _hop(actor)
            u = (t / period + actor.phase) % 1.0
            y -= height * 4 * u * (1 - u)
        case "fall":
            landing = _landing(actor)
            drop = 0.62
            y += 0.2 - drop * (1 - min(t / landing, 1.0) ** 2)
            late = t - landing
            if 0 < late < 0.42:  # one small rebound
                u = late / 0.42
                y -= 0.07 * 4 * u * (1 - u)
        case "rise":
            y -= 0.5 * actor.amplitude * (s - 0.5)
        case "spin":
            angle = sign * 2 * math.pi * t / (1.9 / actor.amplitude)
        case "orbit":
            turn = sign * 2 * math.pi * (t / (2.1 / actor.amplitude)) + 2 * math.pi * actor.phase
            x += 0.22 * math.cos(turn)
            y += 0.2 * math.sin(turn)
        case "grow":
            size *= 0.62 + 0.7 * s
        case "shrink":
            size *= 1.32 - 0.7 * s
        case "shake":
            x += 0.055 * actor.amplitude * math.sin(2 * math.pi * (2.4 * t + actor.phase))
            angle = 0.16 * math.sin(2 * math.pi * (2.4 * t + actor.phase) + 0.8)
    return Pose(x=x, y=y, size=size, angle=angle)


def view(scene: Scene, t: float) -> View:
    """Where the camera looks at time t: pan and tilt turn it, zoom changes the focal length about the centre."""
    s = min(t / scene.duration, 1.0) if scene.duration > 0 else 0.0
    amount = scene.camera_amount
    match scene.camera:
        case "pan left":
            return View(x=-amount * (s - 0.5), y=0.0, zoom=1.0)
        case "pan right":
            return View(x=amount * (s - 0.5), y=0.0, zoom=1.0)
        case "tilt up":
            return View(x=0.0, y=-amount * 0.8 * (s - 0.5), zoom=1.0)
        case "tilt down":
            return View(x=0.0, y=amount * 0.8 * (s - 0.5), zoom=1.0)
        case "zoom in":
            return View(x=0.0, y=0.0, zoom=math.exp(amount * (s - 0.5)))
        case "zoom out":
            return View(x=0.0, y=0.0, zoom=math.exp(-amount * (s - 0.5)))
        case _:
            return View(x=0.0, y=0.0, zoom=1.0)


def events(scene: Scene) -> tuple[Event, ...]:
    """What can be heard to happen within the scene, in order of time; exact, not measured from frames."""
    found: list[Event] = []
    for k, actor in enumerate(scene.actors):

        def add(kind: str, time: float, strength: float, k: int = k, actor: Actor = actor) -> None:
            if 0.0 <= time < scene.duration:
                at, camera = pose(actor, time, scene.duration), view(scene, time)
                found.append(
                    Event(kind=kind, time=time, actor=k, strength=strength, x=(at.x - camera.x) * camera.zoom)
                )

        if actor.motion in ("bounce", "jump"):
            period, _ = _hop(actor)
            first = math.ceil(actor.phase) - actor.phase  # u wraps to 0 when t/period + phase is whole
            time = first * period
            while time < scene.duration:
                if time > 0:
                    add("impact", time, 0.8)
                time += period
        elif actor.motion == "fall":
            landing = _landing(actor)
            add("impact", landing, 1.0)
            add("impact", landing + 0.42, 0.45)
        elif actor.motion in ("slide", "roll", "rise", "spin", "orbit", "shake"):
            add("start", 0.0, 0.5)
    return tuple(sorted(found, key=lambda e: e.time))
