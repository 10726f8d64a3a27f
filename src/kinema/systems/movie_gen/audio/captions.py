"""Words for the model: the paper's caption of four fields, what the Small World's scenes give for it, and refusals.

Quality is a condition, not a filter: damaged copies of clips are labelled with a lower number, and asking for a high
one is asking for a clean sound.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache

from kinema.errors import UserError
from kinema.world import atlas
from kinema.world.captions import BACKGROUND_PHRASES, MOTION_PHRASES, article
from kinema.world.scene import MOTIONS, Scene, make_actor
from kinema.world.sound.events import CREATURES, sound_events
from kinema.world.sound.words import sound_caption

CLEAN, NOISY = 8.0, 4.0  # the quality of a scene's own sound, and of a damaged copy
MUSIC, NO_MUSIC = 0.9, 0.05  # likelihood of music where an instrument plays, and where none does
NO_MUSIC_WORDS = "no music"
LONGEST_SCENE = 4.0  # seconds of the longest clips that training captions speak of
WORDLESS = 0.4  # share of training captions that say nothing but the quality, so that the video decides


@dataclass(frozen=True, kw_only=True)
class SoundCaption:
    """What a caption says of a sound.

    Attributes:
        description: what is heard; empty leaves out all but quality, speech and singing.
        music: mood and genre; the field is there without music too.
        quality: 1 to 10.
        music_likelihood: 0 to 1.
    """

    description: str = ""
    music: str = NO_MUSIC_WORDS
    quality: float = CLEAN
    music_likelihood: float = NO_MUSIC
    speech: bool = False
    singing: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 10:
            raise UserError(f"quality is {self.quality} and must lie between 1 and 10")
        if not 0 <= self.music_likelihood <= 1:
            raise UserError(f"music_likelihood is {self.music_likelihood} and must lie between 0 and 1")

    @property
    def text(self) -> str:
        """The four fields in the paper's words."""
        fields = [
            f"This audio has quality: {self.quality:.1f}.",
            f"This audio {_contains(self.speech)} speech. This audio {_contains(self.singing)} vocal singing.",
        ]
        if self.description:
            fields += [
                f"This audio contains music with a {self.music_likelihood:.2f} likelihood.",
                f'This audio has a description: "{self.description}".',
                f'This audio has a music description: "{self.music}".',
            ]
        return " ".join(fields)


def _contains(there: bool) -> str:
    return "contains" if there else "does not contain"


def players(scene: Scene) -> list[str]:
    """The instruments that play in a scene."""
    playing = sorted({event.actor for event in sound_events(scene) if event.kind == "note"})
    return [scene.actors[k].name for k in playing]


def scene_caption(scene: Scene, index: int | None = None, noisy: bool = False) -> SoundCaption:
    """What a scene sounds like, in the phrasing of `index` (the scene's own without)."""
    playing = players(scene)
    names = " and ".join(article(name) for name in playing)
    return SoundCaption(
        description=sound_caption(scene, index).rstrip("."),
        music=f"sparse, unhurried notes of {names}" if playing else NO_MUSIC_WORDS,
        quality=NOISY if noisy else CLEAN,
        music_likelihood=MUSIC if playing else NO_MUSIC,
    )


def clip_caption(words: str, seconds: float, seed: int = 0) -> SoundCaption | None:
    """What a clip of the Small World sounds like, from the caption of its picture; None for words of no such clip.

    clip_caption("a fox bounces to the right on a beach", 2.0).description
    -> "soft knocks in a regular rhythm with the surf in the background and a fox growls twice"

    The phrasing, and how often a creature calls, are drawn by `seed`: a caption of a picture does not say.
    """
    text = re.sub(r'"[^"]*"', '""', words.lower())
    places = {p: place for place, phrases in BACKGROUND_PHRASES.items() for p in phrases if _has(p, text)}
    where = max(places, key=len, default="")
    pattern, named = _objects()
    found = list(dict.fromkeys(named[at] for at in pattern.findall(text.replace(where, ""))))
    if not where or not found:
        return None
    rng = random.Random(f"sound of a clip:{seed}")
    motion, direction = _motion(text)
    actors = [make_actor(found[0], motion, direction, rng)]
    for number, companion in enumerate(found[1:3], start=1):
        actors.append(make_actor(companion, "rest", "none", rng, companion=number, others=actors[0].x))
    scene = Scene(
        split="prompt", index=0, actors=tuple(actors), background=places[where], variant=0, shift=0.0, camera="static",
        camera_amount=0.0, finish="plain", fps=8.0, duration=min(seconds, LONGEST_SCENE), seed=rng.getrandbits(48),
    )  # fmt: skip
    return scene_caption(scene)


def _has(phrase: str, text: str) -> bool:
    return re.search(rf"\b{phrase}\b", text) is not None


@cache
def _objects() -> tuple[re.Pattern[str], dict[str, int]]:
    """What finds the names of objects in lower case, longest first, and the objects' indices."""
    named = {artwork.name.lower(): artwork.index for artwork in atlas.artworks()}
    names = sorted(map(re.escape, named), key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(names)})\b"), named


def _motion(text: str) -> tuple[str, str]:
    """The motion and direction that words speak of; at rest where they speak of none."""
    for motion, directions in MOTIONS.items():
        for phrase in MOTION_PHRASES[motion]:
            for direction in directions:
                if _has(phrase.format(d=direction), text):
                    return motion, direction
    return "rest", "none"


def training_text(scene: Scene, index: int, noisy: bool = False) -> str:
    """The caption that training reads with the `index`-th sample."""
    if random.Random(f"wordless:{index}").random() < WORDLESS:
        return SoundCaption(quality=NOISY if noisy else CLEAN).text
    return scene_caption(scene, index, noisy).text


_SPEECH = re.compile(
    r"\b(speech|speak\w*|talk\w*|dialog(?:ue)?s?|conversations?|narrat\w+|voice-?\s?overs?|whisper\w*|"
    r"monologues?|spoken|says?|saying|announcer\w*|interviews?)\b"
)
_SINGING = re.compile(
    r"\b(sing|sings|singing|sung|singers?|songs?|vocals?|lyrics?|choirs?|choruses|rap|raps|rapping|rapper\w*|"
    r"karaoke|opera|a cappella)\b"
)
_NEGATED = re.compile(r"\b(no|not|without|never|free of|neither|nor)\s+(?:\w+\s+){0,2}$")
_WRITTEN = re.compile(r"\b(sign|board|poster|plate|label|word|letters?)\s+(?:that\s+|which\s+)?$")


@cache
def _creatures() -> re.Pattern[str]:
    kinds = {w for a in atlas.artworks() if a.family in CREATURES for w in (a.name, a.family)} - {"face"}
    more = {
        "bird",
        "birds",
        "whale",
        "whales",
        "cricket",
        "crickets",
        "frog",
        "frogs",
        "insect",
        "insects",
        "cicada",
    }
    names = sorted(re.escape(kind) + "s?" for kind in kinds | more)
    return re.compile(rf"\b({'|'.join(names)})\b")


def refuse_voices(prompt: str) -> None:
    """Raises UserError if a prompt asks for speech or song: the model makes neither.

    What animals sing, what a sign says, and what the prompt says is not there is none of it.
    """
    text = re.sub(r'"[^"]*"', '""', prompt.lower())
    for kind, pattern in (("speech", _SPEECH), ("song", _SINGING)):
        for found in pattern.finditer(text):
            before = text[: found.start()]
            if _NEGATED.search(before) or _WRITTEN.search(before):
                continue
            clause = re.split(r"[,.;:]", before)[-1] + re.split(r"[,.;:]", text[found.end() :])[0]
            if kind == "song" and _creatures().search(clause):
                continue
            raise UserError(
                f"the prompt asks for {kind} ('{found.group()}') and Movie Gen Audio makes no speech and no song: "
                "describe sounds, effects or instrumental music"
            )
