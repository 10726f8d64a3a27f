"""Editing tasks with their true outcome: a scene, an instruction, and the same scene with that one thing changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from kinema.errors import UserError
from kinema.world import atlas
from kinema.world.captions import BACKGROUND_PHRASES, article, side
from kinema.world.scene import (
    BACKGROUNDS,
    CAMERAS,
    MOTIONS,
    Actor,
    Scene,
    WorldSpec,
    is_unseen_object,
    is_unseen_pair,
    make_actor,
    sample_scene,
)

STRIDE = 1_000_003  # from a scene that a task cannot change to the next one tried
PLACES = {
    "meadow": "a meadow",
    "night sky": "a night sky",
    "beach": "a beach",
    "snow": "a snowy landscape",
    "desert": "a desert",
    "city": "a city",
    "forest": "a forest",
    "room": "the inside of a room",
    "sunset": "a sunset",
    "underwater": "the bottom of the sea",
}
DO = {
    "slide": "slide to the {d}",
    "roll": "roll to the {d}",
    "bounce": "bounce to the {d}",
    "spin": "spin {d}",
    "orbit": "circle {d}",
}
CAMERA_ORDERS: dict[str, tuple[str, ...]] = {
    "static": ("keep the camera still", "use a static camera", "stop the camera"),
    "pan left": ("pan the camera to the left", "let the camera pan left", "make it a pan left"),
    "pan right": ("pan the camera to the right", "let the camera pan right", "make it a pan right"),
    "tilt up": ("tilt the camera up", "let the camera tilt upwards", "make it a tilt up"),
    "tilt down": ("tilt the camera down", "let the camera tilt downwards", "make it a tilt down"),
    "zoom in": ("zoom in", "let the camera zoom in", "make the camera zoom in slowly"),
    "zoom out": ("zoom out", "let the camera zoom out", "make the camera zoom out slowly"),
}
FINISH_ORDERS: dict[str, tuple[str, ...]] = {
    "appealing": (
        "add soft light, shadows and a blurred background",
        "make it look like a professional film",
        "give it warm light and depth of field",
    ),
    "plain": (
        "remove the soft light, the shadows and the blur",
        "make it look flat and plain",
        "turn it into a flat drawing",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One editing task. `instructions` say the same in several ways, `instruction` is one of them."""

    split: str
    index: int
    task: str
    source: Scene
    target: Scene
    instructions: tuple[str, ...]
    inverse_instructions: tuple[str, ...]  # what turns the target back into the source

    @property
    def instruction(self) -> str:
        """The phrasing drawn for this index."""
        return random.Random(f"instruction:{self.split}:{self.index}").choice(self.instructions)

    @property
    def inverse(self) -> Edit:
        """The task that leads back, for training on the way back from an edited clip to a true one."""
        return replace(
            self,
            source=self.target,
            target=self.source,
            instructions=self.inverse_instructions,
            inverse_instructions=self.instructions,
        )


# A task takes (scene, generator, spec) to the target and both lists of phrasings, or None where it does not apply.
_Outcome = tuple[Scene, tuple[str, ...], tuple[str, ...]] | None
_Task = Callable[[Scene, random.Random, WorldSpec], _Outcome]


def _with_subject(scene: Scene, subject: Actor) -> Scene:
    return replace(scene, actors=(subject, *scene.actors[1:]))


def _replace_words(old: str, new: str) -> tuple[str, ...]:
    return (
        f"replace the {old} with {article(new)}",
        f"turn the {old} into {article(new)}",
        f"swap the {old} for {article(new)}",
        f"change the {old} to {article(new)}",
    )


def _replace_object(scene: Scene, rng: random.Random, spec: WorldSpec) -> _Outcome:
    """Another object in the subject's place, of the kind that the split allows."""
    taken = {a.artwork for a in scene.actors}
    if scene.split == "test-objects":
        options = [a.index for a in atlas.artworks() if is_unseen_object(a.index)]
    else:
        held_out = scene.split == "test-pairs"
        options = [k for k in spec.objects if is_unseen_pair(k, scene.subject.motion) == held_out]
    options = [k for k in options if k not in taken]
    if not options:
        return None
    subject = replace(scene.subject, artwork=rng.choice(options))
    old, new = scene.subject.name, subject.name
    return _with_subject(scene, subject), _replace_words(old, new), _replace_words(new, old)


def _background_words(kind: str) -> tuple[str, ...]:
    first, *others = BACKGROUND_PHRASES[kind]
    return (
        f"change the background to {PLACES[kind]}",
        f"replace the background with {PLACES[kind]}",
        f"make it take place {first}",
        *(f"put the scene {phrase}" for phrase in others),
    )


def _change_background(scene: Scene, rng: random.Random, spec: WorldSpec) -> _Outcome:
    kind = rng.choice([b for b in BACKGROUNDS if b != scene.background])
    return (
        replace(scene, background=kind),
        _background_words(kind),
        _background_words(scene.background),
    )


def _add_words(actor: Actor) -> tuple[str, ...]:
    small = article("small " + actor.name)
    return (
        f"add {small} on the {side(actor)}",
        f"put {small} on the {side(actor)}",
        f"place {small} in the background on the {side(actor)}",
    )


def _remove_words(actor: Actor) -> tuple[str, ...]:
    return (
        f"remove the small {actor.name} on the {side(actor)}",
        f"take away the {actor.name} on the {side(actor)}",
        f"delete the {actor.name} in the background",
    )


def _add_object(scene: Scene, rng: random.Random, spec: WorldSpec) -> _Outcome:
    if len(scene.actors) > 2:
        return None
    options = [k for k in spec.objects if k not in {a.artwork for a in scene.actors}]
    if not options:
        return None
    actor = make_actor(
        rng.choice(options), "rest", "none", rng, companion=len(scene.actors), others=scene.subject.x
    )
    return replace(scene, actors=(*scene.actors, actor)), _add_words(actor), _remove_words(actor)


def _remove_object(scene: Scene, rng: random.Random, spec: WorldSpec) -> _Outcome:
    if len(scene.actors) < 2:
        return None
    gone = rng.randrange(1, len(scene.actors))
    actor = scene.actors[gone]
    left = (*scene.actors[:gone], *scene.actors[gone + 1 :])
    return replace(scene, actors=left), _remove_words(actor), _add_words(actor)


def _direction_words(actor: Actor) -> tuple[str, ...]:
    order = DO[actor.motion].format(d=actor.direction)
    there = f"to the {actor.direction}" if actor.direction in ("left", "right") else actor.direction
    return (
        f"make the {actor.name} {order}",
        f"let the {actor.name} {order} instead",
        f"reverse the motion, so that the {actor.name} goes {there}",
    )


def _change_direction(scene: Scene, rng: random.Random, spec: WorldSpec) -> _Outcome:
    """The other direction of the same motion; whoever goes to the right also looks to the right."""
    others = [d for d in MOTIONS[scene.subject.motion] if d != scene.subject.direction]
    if not others:
        return None
    direction = rng.choice(others)
    subject = replace(scene.subject, direction=direction, mirrored=direction == "right")
    return _with_subject(scene, subject), _direction_words(subject), _direction_words(scene.subject)


def _change_finish(scene: Scene, rng: random.Random, spec: WorldSpec) -> _Outcome:
    old = scene.finish
    new = replace(scene, finish="plain" if old == "appealing" else "appealing")
    return new, FINISH_ORDERS[new.finish], FINISH_ORDERS[old]


def _change_camera(scene: Scene, rng: random.Random, spec: WorldSpec) -> _Outcome:
    camera = rng.choice([c for c in CAMERAS if c != scene.camera])
    amount = rng.uniform(0.42, 0.55) if camera.startswith("zoom") else rng.uniform(0.36, 0.5)
    new = replace(scene, camera=camera, camera_amount=0.0 if camera == "static" else round(amount, 4))
    return new, CAMERA_ORDERS[camera], CAMERA_ORDERS[scene.camera]


_TASKS: dict[str, _Task] = {
    "replace object": _replace_object,
    "change background": _change_background,
    "add object": _add_object,
    "remove object": _remove_object,
    "change direction": _change_direction,
    "change finish": _change_finish,
    "change camera": _change_camera,
}
EDIT_TASKS = tuple(_TASKS)


def sample_edit(split: str, index: int, spec: WorldSpec | None = None, task: str | None = None) -> Edit:
    """The editing task at a place in a split: a pure function of its arguments.

    Without `task` all tasks are equally frequent. The source is the scene at the same index where the task applies to
    it (there must be somebody to remove), else the next one by a fixed stride.

    Raises:
        UserError: there is no such split or task, or the index is negative.
    """
    spec = spec or WorldSpec()
    if task is not None and task not in _TASKS:
        raise UserError(f"there is no editing task {task!r}; there are {', '.join(EDIT_TASKS)}")
    rng = random.Random(f"edit:{spec.vocabulary}:{split}:{index}")
    drawn = rng.choice(EDIT_TASKS)
    chosen = task or drawn
    for attempt in range(1000):
        source = sample_scene(split, index + attempt * STRIDE if index >= 0 else index, spec)
        outcome = _TASKS[chosen](source, rng, spec)
        if outcome is not None:
            target, words, back = outcome
            return Edit(
                split=split,
                index=index,
                task=chosen,
                source=source,
                target=target,
                instructions=words,
                inverse_instructions=back,
            )
    raise UserError(f"no scene of this world can {chosen}: its settings are {spec}")
