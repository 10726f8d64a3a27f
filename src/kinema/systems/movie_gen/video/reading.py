"""Goes over a prompt once and finds which of its words belongs to which object, motion, place or camera."""

from __future__ import annotations

from dataclasses import dataclass, field

from kinema.systems.movie_gen.video.meanings import Entry, Item, items

PLAIN_DIRECTIONS = ("left", "right", "up", "down", "clockwise", "counterclockwise")


@dataclass
class Noun:
    """An object of the prompt."""

    said: str
    entry: Entry
    sides: list[str] = field(default_factory=list)
    colours: list[str] = field(default_factory=list)


@dataclass
class Verb:
    """A motion of the prompt, and every direction that was said with it."""

    said: str
    entry: Entry
    directions: list[str] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return self.entry.kind == "verb" and not any(d in PLAIN_DIRECTIONS for d in self.directions)


class Reader:
    """What a prompt says: its objects in order, the first motion, place and camera, words left over, notices."""

    def __init__(self, prompt: str) -> None:
        self.notices: list[str] = []
        self.items = tuple(items(prompt, self.notices))
        self.nouns: list[Noun] = []
        self.verb: Verb | None = None
        self.background = self.hint = self.camera = ""
        self.lens = ""  # while the words speak of the camera: "lens", "pan", "tilt", "zoom", or "done"
        self.current: Noun | None = None  # the last object
        self.in_clause = False  # whether it stands in this clause
        self.linked = self.negated = False
        self.side = ""  # a side that is said before its object
        self.early: tuple[str, str] | None = None  # a direction before its verb, and how it was said
        self.colours: list[str] = []
        self.next_verb: Verb | None = None  # "a spinning drum": the verb of the object that follows
        self.ignored: list[str] = []
        self.strange_verb = ""  # an unknown word where the first object's motion is expected
        self.last = ""
        for at, item in enumerate(self.items):
            self.read(at, item)
        self.end()
        self.finish()

    def finish(self) -> None:
        """A direction that found no verb: "a train from the right" moves."""
        if self.early:
            value, said = self.early
            if self.verb is None and said.startswith("from"):
                self.verb = Verb(said, Entry("verb", "go"))
            if self.verb and self.verb.open:
                self.verb.directions.append(value)
            else:
                self.ignored.append(said)

    def end(self) -> None:
        """A clause ends."""
        if self.negated and self.lens:
            self.set_camera("static", "no camera")
        if self.current and self.in_clause:
            self.current.colours += self.colours
        else:
            self.ignored += self.colours
        if self.side and self.current:
            self.current.sides.append(self.side)
        self.side, self.colours = "", []
        self.lens, self.negated, self.linked, self.in_clause = "", False, True, False

    def next_noun(self, at: int) -> bool:
        """Whether an object follows, with nothing but adjectives between."""
        for item in self.items[at + 1 :]:
            kind = item.entry.kind
            if kind.endswith(("object", "like")):
                return not item.after_article
            if kind not in ("colour", "size"):
                return False
        return False

    def read(self, at: int, item: Item) -> None:
        entry = item.entry
        kind = entry.kind.removeprefix("many ")
        if item.said == "orange" and kind == "object" and self.is_colour(at):
            kind = "colour"
        match kind:
            case "object" | "like":
                self.read_noun(item)
            case "person":
                if not self.negated:
                    self.notices.append(f"nano paints no people; '{item.said}' was left out.")
                self.negated = False
            case "verb" | "motion":
                self.read_verb(at, item)
            case "direction" | "side":
                self.read_direction(item, kind)
            case "background" | "hint":
                self.read_place(item, kind)
            case "camera":
                self.set_camera("static" if self.negated else entry.value, "" if entry.exact else item.said)
                self.negated, self.lens = False, "done"
            case "lens":
                self.lens = "lens"
            case "pan" | "tilt" | "zoom" | "toward" | "away" | "moving":
                self.read_lens(item, kind)
            case "colour":
                if not self.negated:
                    self.colours.append(item.said)
                self.negated = False
            case "link":
                self.linked, self.in_clause, self.lens = True, False, ""
            case "no":
                self.negated = True
            case "end":
                self.end()
            case "size":
                if item.said not in ("small", "little"):
                    self.ignored.append(item.said)
            case "unknown":
                self.read_unknown(item)
        if kind == "count" and item.said == "another" and self.nouns:
            self.notices.append("nano paints one of each object; 'another' was left out.")

    def is_colour(self, at: int) -> bool:
        """Whether this "orange" colours what follows."""
        before = "colour"
        for item in self.items[at + 1 :]:
            kind = item.entry.kind
            if kind.endswith(("object", "like")):
                return not item.after_article and before != "link"
            if kind in ("background", "hint"):
                return item is self.items[at + 1] and len(item.said.split()) == 1 and not item.after_article
            if kind not in ("colour", "size", "link"):
                return False
            before = kind
        return False

    def read_noun(self, item: Item) -> None:
        if self.negated:
            self.negated, self.colours = False, []
            return
        noun = next((n for n in self.nouns if n.entry.value == item.entry.value), None)
        if noun is None:
            noun = Noun(item.said, item.entry)
            self.nouns.append(noun)
            if item.entry.kind.startswith("many"):
                self.notices.append(f"nano paints one of each object; '{item.said}' became one.")
        if self.side:
            noun.sides.append(self.side)
        noun.colours += self.colours
        self.side, self.colours, self.lens, self.last = "", [], "", "noun"
        self.current, self.in_clause = noun, True
        if self.next_verb:
            verb, self.next_verb = self.next_verb, None
            self.set_verb(verb)

    def read_verb(self, at: int, item: Item) -> None:
        if self.lens:
            self.read_lens_verb(item)
            return
        if self.negated and self.next_noun(at):
            return  # "no spinning drum": the object is what is not wanted
        entry = Entry("verb", "rest") if self.negated else item.entry
        verb = Verb(item.said, entry)
        if self.early and verb.open:
            verb.directions.append(self.early[0])
            self.early = None
        self.negated = False
        if item.after_article and self.next_noun(at):
            self.next_verb = verb
        else:
            self.set_verb(verb)

    def read_lens_verb(self, item: Item) -> None:
        """A motion of the camera: "the camera moves left"."""
        value, _, direction = item.entry.value.partition(" ")
        if value == "rest" or self.negated:
            self.set_camera("static")
            self.lens, self.negated = "done", False
        elif direction in ("left", "right", "up", "down"):
            self.turn_camera(direction)
        else:
            self.lens = "lens"

    def set_verb(self, verb: Verb) -> None:
        other = self.current if self.current is not None and self.current is not self.nouns[0] else None
        rests = verb.entry.value.startswith("rest")
        self.last = "verb"
        if other and not rests:
            self.notices.append(f"nano moves only the first object; '{other.said}' stands still.")
        if self.verb is None:
            if not (other and rests):
                self.verb = verb
        elif other:
            self.last = "closed"
        elif (
            self.verb.open and self.verb.entry.value == "go" and verb.entry.value.startswith(("go", "slide"))
        ):
            self.verb = verb  # "moves, then moves to the left"
        elif verb.said != self.verb.said:
            self.notices.append(f"nano takes one motion at a time; '{verb.said}' was left out.")

    def read_unknown(self, item: Item) -> None:
        expected = self.last == "noun" and self.in_clause and len(self.nouns) == 1 and self.verb is None
        if expected and item.said.endswith(("s", "ing", "ed")) and not self.strange_verb:
            self.strange_verb = item.said
        else:
            self.ignored.append(item.said)

    def read_direction(self, item: Item, kind: str) -> None:
        value = item.entry.value
        if self.lens and value in ("left", "right", "up", "down"):
            if self.lens != "done":
                self.turn_camera(value)
        elif kind == "side":
            self.take_side(value)
        elif value not in PLAIN_DIRECTIONS:
            if self.verb:
                self.verb.directions.append(value)
        elif self.next_verb and self.next_verb.open:
            self.next_verb.directions.append(value)
        elif self.last == "verb" and self.verb:
            if self.verb.open:
                self.verb.directions.append(value)
        elif self.last == "noun" and self.current and self.current is not self.nouns[0]:
            if self.verb and self.verb.open and not self.linked:
                self.verb.directions.append(value)
            elif value in ("left", "right"):
                self.take_side(value)
        elif self.last != "closed":
            self.early = value, item.said
        self.negated = False

    def take_side(self, value: str) -> None:
        if self.current and self.in_clause:
            self.current.sides.append(value)
        else:
            self.side = value

    def read_place(self, item: Item, kind: str) -> None:
        value = item.entry.value
        self.ignored += self.colours
        self.colours = []
        if self.negated:
            self.negated = False
        elif kind == "hint":
            self.hint = self.hint or value
        elif not self.background:
            self.background = value
        elif value != self.background:
            self.notices.append(f"nano paints one background; '{item.said}' was left out.")

    def read_lens(self, item: Item, kind: str) -> None:
        if self.negated:
            if self.lens or kind in ("pan", "tilt", "zoom"):
                self.set_camera("static")
            elif kind == "moving":
                self.set_verb(Verb("no motion", Entry("verb", "rest")))
            self.negated, self.lens = False, "lens"
        elif kind in ("pan", "tilt", "zoom"):
            camera = {"pan": "pan right", "tilt": "tilt up", "zoom": "zoom in"}[kind]
            self.lens = kind if self.set_camera(camera) else "done"
        elif self.lens and kind in ("toward", "away"):
            self.camera = "zoom in" if kind == "toward" else "zoom out"

    def turn_camera(self, direction: str) -> None:
        self.camera = f"{'pan' if direction in ('left', 'right') else 'tilt'} {direction}"
        self.lens = "done"

    def set_camera(self, camera: str, odd: str = "") -> bool:
        if self.camera and self.camera not in ("static", camera):
            self.notices.append(f"nano takes one camera motion; '{odd or camera}' was left out.")
            return False
        self.camera = camera
        if odd:
            self.notices.append(f"nano does not know the camera word '{odd}'; it took '{camera}'.")
        return True
