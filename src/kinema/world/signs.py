"""Signs: boards with a few letters that stand or hang in a scene behind its actors, so that words can be spelled.

Sampled from a random stream of their own: whether a world has signs changes nothing else in its scenes. Held-out words
(one in five, by the word alone) appear in `val` and the test splits only, every other word in `train` only.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from kinema.errors import UserError
from kinema.world.letters import HIGH, check_word, word_units

if TYPE_CHECKING:
    from kinema.world.scene import Scene, WorldSpec

_WORDS = (
    "AM AT BE BY DO GO HI IF IN IT ME MY NO OF OH OK ON OR SO TO UP US WE YES "
    "AIR ANT APE ARM ART BAG BAR BAT BED BEE BIG BOX BOY BUS CAB CAN CAR CAT COW CUP DAY DOG DRY EAR EAT EGG EYE FAR "
    "FLY FOX FUN GAS GYM HAT HEN HOT HUT ICE INK INN JAM JAR JOY KEY LAB LEG MAP MUD NET NEW NUT OAK OIL OLD OWL PAN "
    "PEN PIG POT PUB RED RUN SEA SKY SPA SUN TAX TEA TEN TOP TOY TRY VAN WAX WET WIN ZOO "
    "AWAY BACK BAKE BALL BANK BATH BEAR BIKE BIRD BLUE BOAT BOOK CAFE CAKE CAMP CITY CLUB COOL DESK DOOR DOWN DUCK "
    "EAST EXIT FARM FAST FIRE FISH FLAT FOOD FREE GATE GIFT GOLD GOOD HALL HELP HERE HIGH HILL HOME HOPE JAZZ JUMP "
    "KING KITE LAKE LAMP LEFT LIFE LION LOVE LUCK MAIL MEAT MENU MILK MOON NEWS NEXT NOON NEAR NOTE ONLY OPEN PARK "
    "PATH PLAY POOL PORT POST QUAY QUIZ RACE RAIN REST RICE RIDE RING ROAD ROCK ROOM ROSE SAFE SALE SALT SHIP SHOE "
    "SHOP SHOW SLOW SNOW SOAP SOUP STAR STOP SURF TAXI TENT TIME TOWN TREE TURN VIEW WALK WARM WASH WEST WILD WIND "
    "WOLF WOOD WORK YARD ZERO ZONE"
)
COMMON_WORDS = tuple(_WORDS.split())
# name -> board, letters; the name is the board's colour in captions
SIGN_COLOURS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "white": ((246, 246, 242), (24, 26, 34)),
    "yellow": ((252, 212, 48), (26, 24, 22)),
    "blue": ((22, 68, 160), (255, 255, 255)),
    "red": ((190, 24, 38), (255, 255, 255)),
    "green": ((12, 98, 58), (255, 255, 255)),
    "black": ((30, 30, 34), (250, 246, 232)),
    "brown": ((104, 62, 34), (255, 244, 216)),
}
SIGN_KINDS: tuple[Literal["post", "plate"], ...] = ("post", "plate")  # stands on a post, hangs from above
SIGN_DEPTH = 11.5  # metres: behind every actor, before every wall
MARGIN_X, MARGIN_Y = 1.6, 1.5  # units of the letters' grid between the letters and the board's rim
LETTERS = (0.126, 0.156)  # frame heights: at 64 pixels 6 or more at the far end of any zoom
# A sign overhead hangs in the middle of the upper half, letters of one size: where a word will stand, and how large,
# is known before it is drawn.
SignPlace = Literal["anywhere", "overhead"]
OVERHEAD_Y, OVERHEAD_HEIGHT = -0.28, 0.17
READ_SHARE = 0.5  # of the time that an overhead sign must be legible to be hung
LOOKS = 16  # times at which a place is tried out
TRIES = 48  # places


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A board that says a word in capitals. (x, y) is its middle in the world, `height` that of its letters."""

    word: str
    kind: Literal["post", "plate"]
    colour: str
    x: float
    y: float
    height: float

    def __post_init__(self) -> None:
        check_word(self.word)
        if self.kind not in SIGN_KINDS or self.colour not in SIGN_COLOURS or not 0 < self.height < 1:
            raise UserError(
                f"a {self.colour} {self.kind} with letters {self.height} frame heights high is no sign: expected "
                f"{' or '.join(SIGN_KINDS)}, one of {', '.join(SIGN_COLOURS)}, and a height between 0 and 1"
            )

    @property
    def unit(self) -> float:
        """Frame heights of a unit of the letters' grid."""
        return self.height / HIGH

    @property
    def text_size(self) -> tuple[float, float]:
        """Width and height of the word."""
        return word_units(len(self.word)) * self.unit, self.height

    @property
    def board_size(self) -> tuple[float, float]:
        """Width and height of the board."""
        width, height = self.text_size
        return width + 2 * MARGIN_X * self.unit, height + 2 * MARGIN_Y * self.unit


@cache
def is_unseen_word(word: str) -> bool:
    """Whether training never shows this word (one in five)."""
    return int.from_bytes(hashlib.sha256(f"word:{word}".encode()).digest()[:6], "big") / 2**48 < 1 / 5


@cache
def _common(held_out: bool, shortest: int, longest: int) -> tuple[str, ...]:
    return tuple(w for w in COMMON_WORDS if shortest <= len(w) <= longest and is_unseen_word(w) == held_out)


def sample_word(split: str, rng: random.Random, letters: tuple[int, int] = (2, 4)) -> str:
    """A word for a sign of a split, as often a common one as random letters; `letters` is shortest and longest."""
    held_out = split != "train"
    common = _common(held_out, *letters)
    if rng.random() < 0.5 and common:
        return rng.choice(common)
    while True:
        word = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(*letters)))
        if is_unseen_word(word) == held_out:
            return word


# What a scene shows at one time: the camera (x, y, zoom), and a disc (x, y, radius) for every actor.
_Moment = tuple[tuple[float, float, float], list[tuple[float, float, float]]]


def _moments(scene: Scene, times: Sequence[float] | None = None) -> list[_Moment]:
    from kinema.world.motion import pose, view  # which know scenes, which know signs

    found: list[_Moment] = []
    for t in times or [k * scene.duration / LOOKS for k in range(LOOKS)]:
        camera = view(scene, t)
        poses = [pose(actor, t, scene.duration) for actor in scene.actors]
        found.append(((camera.x, camera.y, camera.zoom), [(p.x, p.y, 0.5 * p.size) for p in poses]))
    return found


def _legible(moment: _Moment, x: float, y: float, size: tuple[float, float]) -> bool:
    """Whether a word at this place is whole in a square frame, with no actor's disc on it."""
    (look_x, look_y, zoom), discs = moment
    half_x, half_y = size[0] / 2, size[1] / 2
    if (abs(x - look_x) + half_x) * zoom > 0.49 or (abs(y - look_y) + half_y) * zoom > 0.49:
        return False
    return all(
        math.hypot(max(abs(dx - x) - half_x, 0.0), max(abs(dy - y) - half_y, 0.0)) >= radius
        for dx, dy, radius in discs
    )


def legible(scene: Scene, times: Sequence[float]) -> list[bool]:
    """Whether the sign's word is whole in a square frame at these times (s), with no actor before it."""
    sign = scene.sign
    if sign is None:
        return [False] * len(times)
    return [_legible(m, sign.x, sign.y, sign.text_size) for m in _moments(scene, times)]


def legible_share(scene: Scene) -> float:
    """How much of the time the scene's sign can be read whole, in a square frame; 0 without a sign."""
    return sum(legible(scene, [k * scene.duration / LOOKS for k in range(LOOKS)])) / LOOKS


def make_sign(scene: Scene, word: str, rng: random.Random) -> Sign:
    """A sign for a scene, where most of its time nothing hides the word: the first good place of many, or the best."""
    kind, colour = rng.choice(SIGN_KINDS), rng.choice(tuple(SIGN_COLOURS))
    moments = _moments(scene)
    tried: list[tuple[int, Sign]] = []
    for attempt in range(TRIES):
        height = rng.uniform(LETTERS[0], LETTERS[1] if attempt < TRIES / 2 else 0.13)
        sign = Sign(word=word, kind=kind, colour=colour, x=0.0, y=0.0, height=round(height, 4))
        room = max(0.0, 0.47 - sign.text_size[0] / 2)
        x, y = rng.uniform(-room, room), rng.uniform(-0.49 + sign.board_size[1] / 2, 0.12)
        sign = replace(sign, x=round(x, 4), y=round(y, 4))
        tried.append((sum(_legible(m, x, y, sign.text_size) for m in moments), sign))
        if tried[-1][0] >= 0.9 * LOOKS:
            break
    return max(tried, key=lambda entry: entry[0])[1]


def sample_sign(scene: Scene, spec: WorldSpec) -> Sign | None:
    """The sign of a scene in a world of these odds, or none; pure in the scene's place and the spec."""
    rng = random.Random(f"kinema-sign-1:{spec.vocabulary}:{scene.split}:{scene.index}")
    if rng.random() >= spec.sign_odds:
        return None
    word = sample_word(scene.split, rng, spec.sign_letters)
    if spec.sign_place == "anywhere":
        return make_sign(scene, word, rng)
    colour = rng.choice(tuple(SIGN_COLOURS))
    sign = Sign(word=word, kind="plate", colour=colour, x=0.0, y=OVERHEAD_Y, height=OVERHEAD_HEIGHT)
    shown = sum(_legible(moment, sign.x, sign.y, sign.text_size) for moment in _moments(scene))
    return sign if shown >= READ_SHARE * LOOKS else None


def check_letters(letters: Sequence[int]) -> None:
    """Refuse lengths of words that no sign can have."""
    if len(letters) != 2 or not 1 <= letters[0] <= letters[1] <= 8:
        raise UserError(
            f"sign_letters are {tuple(letters)}: expected the shortest and longest word, 1 to 8 letters"
        )
