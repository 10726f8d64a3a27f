"""The Small World's sound: 48 kHz, synthesised in step with a scene's events, with exact onset times and classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kinema.world.sound.events import (
    BEDS,
    CREATURES,
    INSTRUMENT,
    MATERIALS,
    ONSET_KINDS,
    SOUND_CLASSES,
    onsets,
    sound_class,
    sound_events,
)
from kinema.world.sound.words import sound_caption

if TYPE_CHECKING:
    from kinema.world.sound.mel import log_mel
    from kinema.world.sound.mix import render_sound

__all__ = [
    "BEDS",
    "CREATURES",
    "INSTRUMENT",
    "MATERIALS",
    "ONSET_KINDS",
    "SOUND_CLASSES",
    "log_mel",
    "onsets",
    "render_sound",
    "sound_caption",
    "sound_class",
    "sound_events",
]


def __getattr__(name: str) -> Any:
    # Synthesis and the mel front end need torch; events and words do not.
    if name == "render_sound":
        from kinema.world.sound.mix import render_sound

        return render_sound
    if name == "log_mel":
        from kinema.world.sound.mel import log_mel

        return log_mel
    raise AttributeError(f"module 'kinema.world.sound' has no attribute {name!r}")
