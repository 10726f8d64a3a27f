"""What `sound`, `generate` and `rerun` share: open a model of sound, make sound for a clip, record how."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kinema import __version__
from kinema.cli import making
from kinema.cli.prompts import Request, check_number, check_prompt
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.media import Sound, Video

NAME = "movie-gen-audio-nano"
RECORD = "sound"  # the setting of a clip's provenance that says how its sound was made


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for: words, music, quality and the solver's settings."""

    prompt: str = ""
    music: str = ""
    quality: float = 8.0
    seed: int = 0
    steps: int | None = None
    guidance_scale: float | None = None
    candidates: int = 1

    def settings(self) -> dict[str, Any]:
        """What the pipeline's methods take besides the prompt, the seed and the number of candidates."""
        return {
            "music": self.music,
            "quality": self.quality,
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
        }


def check_wish(wish: Wish) -> Wish:
    """Refuse words that the model makes no sound for, and settings beyond their limits."""
    from kinema.systems.movie_gen.audio.captions import SoundCaption, refuse_voices

    for what, words in (("the prompt", wish.prompt), ("--music", wish.music)):
        if words.strip():
            check_prompt(words, what)
            refuse_voices(words)
    SoundCaption(quality=wish.quality)
    for setting in ("seed", "steps", "guidance_scale"):
        value = getattr(wish, setting)
        if value is not None:
            check_number(setting, value)
    if wish.seed < 0:
        raise UserError(f"--seed is {wish.seed} and must be 0 or more")
    if not 1 <= wish.candidates <= making.MOST_CANDIDATES:
        raise UserError(
            f"--candidates is {wish.candidates} and must lie between 1 and {making.MOST_CANDIDATES}"
        )
    return replace(wish, prompt=wish.prompt.strip(), music=wish.music.strip())


def make_sound(
    model: making.Opened,
    video: Video,
    wish: Wish,
    own: Sound | None = None,
    gap: tuple[float, float] | None = None,
    extend: float | None = None,
    on_step: Callable[..., None] | None = None,
) -> Sound:
    """Sound for a clip: all of it, or what is missing in `own`."""
    shared = {"prompt": wish.prompt, "seed": wish.seed, "video": video, **wish.settings()}
    made: Sound
    if gap is not None:
        assert own is not None
        made = model.pipeline.infill(own, gap[0], min(gap[1], own.seconds), **shared)
    elif extend is not None:
        made = model.pipeline.extend(own, extend, **shared)
    else:
        made = model.pipeline.sound_for(**shared, candidates=wish.candidates, on_step=on_step)
    return made


def open_sound(weights: str, device: str) -> making.Opened:
    """The model of sound."""
    return making.open_for_clips(NAME, weights, device)


def open_sound_for(name: str, device: str) -> making.Opened | None:
    """The model that makes the sound of another's clips; None where there is none, or its weights are not here."""
    from kinema import hub

    entry = hub.find(name)
    if entry.sound is None or hub.find(entry.sound).nano_path is None:
        return None
    return open_sound("nano", device)


def sounding(model: making.Opened, made: making.Made, request: Request) -> making.Made:
    """What `generate` made, with sound from its frames and its prompt."""
    from kinema.systems.movie_gen.audio.captions import MUSIC, clip_caption, refuse_voices
    from kinema.systems.movie_gen.audio.pipeline import LONGEST, SHORTEST

    video, began = made.video, time.perf_counter()
    if not SHORTEST <= video.seconds <= LONGEST:
        note = f"The clip is silent: sound is made for {SHORTEST:g} to {LONGEST:g} s."
        return replace(made, notices=[*made.notices, note])
    wish, notices = Wish(prompt=request.prompt, seed=request.seed), list(made.notices)
    said = clip_caption(made.prompt_used, video.seconds, request.seed)
    if said is not None:
        wish = replace(
            wish, prompt=said.description, music=said.music if said.music_likelihood == MUSIC else ""
        )
    else:
        try:
            refuse_voices(request.prompt)
        except UserError:
            wish = replace(wish, prompt="")
            notices.append("The sound has no speech and no song, which the model does not make.")
    heard = _heard(model, video, wish)
    return replace(made, video=heard, notices=notices, seconds=made.seconds + time.perf_counter() - began)


def sounding_again(record: object, video: Video, device: str) -> Video:
    """Repeat what a provenance's record says; it may come from anybody, so it is checked like typed words."""
    if not isinstance(record, Mapping):
        raise UserError(f"the clip's record of its sound is {record!r}: expected a table")
    weights = record.get("weights", "nano")
    if record.get("model") != NAME or weights not in ("nano", "official"):
        raise UserError(
            "the clip's sound is of a model that is not in this kinema, so it cannot be made again"
        )
    kinds = {
        "prompt": str,
        "music": str,
        "quality": float,
        "seed": int,
        "steps": int,
        "guidance_scale": float,
        "candidates": int,
    }
    values = {name: record.get(name) for name in kinds}
    for name, value in values.items():
        if type(value) is not kinds[name]:
            raise UserError(
                f"the clip's record of its sound has {name}={value!r}: expected {kinds[name].__name__}"
            )
    wish = check_wish(Wish(**values))  # type: ignore[arg-type]  # of the right kinds, checked above
    model = open_sound(weights, device)
    if model.weights_hash != record.get("weights_hash"):
        raise UserError(
            f"the clip's sound was made with the weights {record.get('weights_hash')} and these are "
            f"{model.weights_hash}"
        )
    return _heard(model, video, wish)


def _heard(model: making.Opened, video: Video, wish: Wish) -> Video:
    made, record = make_sound(model, video, wish), told(model, video, wish, to="clip")
    return replace(video, sound=made, metadata={**video.metadata, **record})


def told(model: making.Opened, video: Video, wish: Wish, **more: Any) -> dict[str, Any]:
    """Metadata of the clip: its provenance with what is to be known of its sound."""
    import torch

    from kinema.media import Provenance
    from kinema.media.provenance import provenance_in
    from kinema.systems.movie_gen.audio.pipeline import STEPS
    from kinema.systems.movie_gen.audio.sampling import GUIDANCE_SCALE

    scale = GUIDANCE_SCALE if wish.guidance_scale is None else wish.guidance_scale
    record = {
        "model": NAME,
        "weights": model.weights,
        "weights_hash": model.weights_hash,
        "version": __version__,
        "prompt": wish.prompt,
        "music": wish.music,
        "quality": float(wish.quality),
        "seed": wish.seed,
        "steps": STEPS if wish.steps is None else wish.steps,
        "guidance_scale": float(scale),
        "candidates": wish.candidates,
        "threads": torch.get_num_threads(),
        **{name: value for name, value in more.items() if value is not None},
    }
    known = provenance_in(video.metadata)
    if known is None:
        known = Provenance(model=NAME, weights_hash=model.weights_hash, version=__version__)
    return {"kinema": replace(known, settings={**known.settings, RECORD: record})}
