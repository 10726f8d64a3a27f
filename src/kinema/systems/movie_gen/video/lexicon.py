"""The words that nano's prompts are read with: what each names in the Small World, and how well.

Tables first (one line a meaning, words after the colon), then the index from word sequences to meanings.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NamedTuple

from kinema.world import atlas
from kinema.world.captions import BACKGROUND_PHRASES, CAMERA_PHRASES, MOTION_PHRASES
from kinema.world.scene import MOTIONS


class Entry(NamedTuple):
    """What a word sequence means. Not `exact`: the nearest that nano has, which is worth a notice."""

    kind: str
    value: str
    exact: bool = True


ARTICLES = frozenset("a an the one its his her their my your our this that these those some".split())
ADVERBS = frozenset("slow slowly gently softly quickly fast rapidly smoothly suddenly happily quietly calmly".split())
QUIET_ADVERBS = frozenset("slow slowly gently softly".split())  # the training captions say "slow" themselves

# Other names of nano's own objects.
SAME = """
fox: vixen; cat: kitten, kitty, house cat, tomcat; dog: puppy, pup, doggy, hound; rabbit: bunny, hare
elephant: elefant; tiger: tigress; panda: panda bear, giant panda; lion: lioness; pig: piglet, hog
hen: chicken; duck: duckling; flamingo: flamingoes; frog: toad, tree frog; turtle: tortoise, terrapin, sea turtle
snake: serpent; crocodile: alligator; tropical fish: tropical fishes; whale: spouting whale, blue whale
honeybee: bee, bumblebee, honey bee, bumble bee; ladybug: ladybird, lady beetle, lady bug; sunflower: sun flower
mushroom: toadstool; red apple: apple; cherries: cherry; watermelon: water melon
hamburger: burger, cheeseburger; pizza: slice of pizza, pizza slice; doughnut: donut; cupcake: cup cake, muffin
ice cream: icecream, soft ice cream, ice cream cone; car: automobile, red car; bus: school bus, city bus, oncoming bus
fire engine: fire truck, firetruck; bicycle: bike; locomotive: train, steam locomotive, steam train, steam engine
rocket: rocket ship, space rocket; helicopter: copter, chopper; airplane: plane, aeroplane, small airplane, jet, airliner
sailboat: sailing boat, sail boat, yacht, sailing ship; soccer ball: football, soccerball; basketball: basket ball
guitar: electric guitar; drum: drum with drumsticks; teddy bear: teddy, plush bear, stuffed bear; balloon: party balloon
owl: night owl; penguin: emperor penguin; tractor: farm tractor; butterfly: moth; robot: android, red robot
"""
# What nano paints instead, picked by hand: names of the full atlas, families, and everyday words.
NEAR = """
fox: wolf, raccoon, chipmunk, squirrel, coyote, jackal, animal, creature, deer, kangaroo, otter, skunk, badger, weasel
cat: pet, lynx; dog: poodle, hyena; rabbit: mouse, rat, hamster, hedgehog, sheep, lamb
elephant: rhinoceros, hippopotamus, mammoth, rhino, hippo; tiger: leopard, cheetah, jaguar, panther, puma, big cat
panda: bear, polar bear, koala, gorilla, badger, sloth, monkey; lion: camel, bison, beaver, orangutan
zebra: horse, donkey, unicorn, pony, carousel horse, giraffe, llama; pig: boar, cow, ox, goat, ram, bull
parrot: bird, birdie, eagle, bluebird, peacock, hawk, toucan, phoenix, raven, crow, seagull, sparrow, pigeon, dove, gull
hen: rooster, turkey, chick, baby chick, hatching chick, cock; duck: goose, swan; owl: bat, falcon, vulture
flamingo: heron, stork, ostrich, dodo; penguin: seal, puffin; turtle: reptile, snail
crocodile: lizard, dragon, dinosaur, t rex, sauropod, iguana, gecko, chameleon; snake: worm, eel, caterpillar
octopus: squid, jellyfish; tropical fish: fish, blowfish, goldfish, clownfish; whale: shark, dolphin, orca
crab: lobster, shrimp, scorpion, spider, starfish, star fish; honeybee: wasp, fly, mosquito, hornet
ladybug: insect, bug, beetle, ant, cockroach; butterfly: dragonfly; sunflower: flower, plant, daisy, blossom
tulip: hyacinth, lotus; rose: bouquet, hibiscus, cherry blossom; red apple: fruit, green apple, tomato, peach, pear
banana: lemon, corn, mango; strawberry: berry, raspberry; watermelon: melon; cherries: grapes, blueberries
broccoli: vegetable, cabbage, lettuce, cauliflower, bonsai; carrot: hot pepper, cucumber
hamburger: food, sandwich, hot dog, bread, meal, lunch, dinner; cupcake: cake, dessert, candy, muffin, sweet
doughnut: cookie, bagel, wheel; ice cream: drink, shaved ice, lollipop, milkshake
car: taxi, police car, racing car, jeep, vehicle, ambulance, van, suv, cart, sled
bus: tram, tram car, trolleybus, minibus, lorry; fire engine: truck, delivery truck, pickup truck
bicycle: motorcycle, motor scooter, kick scooter, scooter, tricycle, skateboard; tractor: bulldozer, excavator, digger
locomotive: bullet train, subway, metro; rocket: spaceship, spacecraft, missile, satellite, comet, ufo, flying saucer
helicopter: drone; airplane: aircraft, kite, glider, paper plane; balloon: hot air balloon, parachute, face, bubble
sailboat: boat, ship, canoe, ferry, speedboat, motor boat, passenger ship, raft
soccer ball: ball, volleyball, baseball, golf ball, tennis ball, beach ball, eight ball, globe
guitar: instrument, violin, banjo, harp, piano, musical keyboard, cello, ukulele; drum: long drum, spinning top
trumpet: saxophone, flute, horn, trombone, postal horn; crown: hat, top hat, tiara, ring
teddy bear: toy, doll, plush toy, snowman; robot: monster, alien, device, machine, skull, computer, statue
"""
PEOPLE = (
    "person people human man woman men women boy girl child children kid guy lady gentleman king queen prince princess "
    "knight pirate astronaut wizard witch soldier dancer farmer chef ninja mermaid santa clown human being somebody "
    "someone he she they him them cyclist driver skater cowboy angel family crowd firefighter policeman"
)
FAMILY_STANDS = {"drink": "ice cream", "tool": "guitar", "device": "robot", "furniture": "drum", "face": "balloon"}
OTHER_COLOURS = {  # colours that nano's objects also have, beside the atlas's main one
    "panda": "black", "zebra": "white", "penguin": "white", "soccer ball": "black", "pig": "pink", "frog": "green",
    "snake": "green", "turtle": "green", "crocodile": "green", "broccoli": "green", "banana": "yellow",
    "watermelon": "green", "red apple": "red", "honeybee": "black", "tiger": "black", "mushroom": "red",
    "crown": "golden", "trumpet": "golden", "cherries": "red",
}  # fmt: skip
COLOURS = (
    "red orange yellow green blue purple violet pink brown black white grey gray gold golden silver cyan magenta "
    "turquoise beige crimson scarlet teal"
)
# How a verb reads in each direction: "-" is no direction, * marks verbs that stand for something nano cannot do.
GO = "- slide right, left slide left, right slide right, up rise up, down fall down, clockwise orbit clockwise, " \
    "counterclockwise orbit counterclockwise"  # fmt: skip
TURN = "clockwise {0} clockwise, counterclockwise {0} counterclockwise, - {0} clockwise, " \
    "right {0} clockwise, left {0} counterclockwise"  # fmt: skip
HOP = "left bounce left, right bounce right, up jump none, down jump none"
CLASSES = {
    "go": GO,
    "roll": "- roll right, left roll left, right roll right, clockwise roll right, counterclockwise roll left",
    "bounce": f"- bounce right, {HOP}",
    "hop": f"- jump none, {HOP}",
    "float": GO.replace("- slide right", "- rise up"),
    "spin": TURN.format("spin"),
    "orbit": TURN.format("orbit"),
    "fall": "- fall down, down fall down",
    "rise": "- rise up, up rise up",
    **{m: f"- {m} none, up {m} none, down {m} none" for m in ("rest", "jump", "grow", "shrink", "shake")},
}
VERBS = """
go: slide, glide, move, go, walk, run, drive, travel, fly, swim, march, crawl, race, drift, sail, ride, cross, skate
go: stroll, sprint, gallop, trot, slither, rush, speed, cruise, chase, approach, pass, zoom past, zoom by, come, flow
roll: roll, tumble, cartwheel; bounce: bounce; hop: hop, jump, leap, spring, bob; jump: bounce in place, skip
float: float, hover, levitate; fall: fall, drop, sink, plunge, plummet, land, descend, dive, fall over, fall down
rise: rise, ascend, lift off, take off, climb, launch, soar, blast off; rest: rest, stay, stand, wait, sit, pose, sit down
spin: spin, rotate, turn, twirl, whirl, revolve, pirouette; orbit: orbit, circle, circulate, loop
grow: grow, get bigger, become larger, get larger, become bigger, expand, enlarge, inflate, swell, become big
shrink: shrink, get smaller, become smaller, become tiny, deflate, diminish, contract, become small, get tiny
shake: shake, wobble, shiver, tremble, vibrate, jiggle, quiver, wiggle, sway, rock, swing
shake*: dance, laugh, play, sing, talk, bark, eat, wave, fight, chew, drum; rest*: sleep, look, watch, hide, stare, smile
grow*: bloom, open, appear; shrink*: melt, disappear, vanish; jump*: celebrate, cheer; fall*: crash, collapse
rest: standing still, stand still, stay in place, not move, motionless, stay still, no motion, no movement
"""
IRREGULAR = """
run: ran, running; drive: drove; fly: flew; swim: swam, swimming; ride: rode; spin: spun, spinning; fall: fell
rise: rising; swing: swung; spring: sprang; stand: stood; sit: sat, sitting; shake: shook; shrink: shrank; eat: ate
hop: hopping, hopped; drop: dropping, dropped; skip: skipping; bob: bobbing; sing: sang; sink: sank; go: went; come: came
get: getting, got; become: became; plummet: plummeting; grow: grew; sleep: slept; take: took; hide: hid
"""
DIRECTIONS = """
left: left, leftward, leftwards, to left, towards left, toward left, from right to left, right to left, from right
left: to left side, to left hand side, in left direction; right: to right side, to right hand side, in right direction
right: right, rightward, rightwards, to right, towards right, toward right, from left to right, left to right, from left
up: up, upward, upwards, skyward, skywards, into air, into sky, up into air, up into sky, up in air, from below, sky high
down: down, downward, downwards, to ground, from above, from sky, to floor, from top to bottom, out of sky
clockwise: clockwise, in clockwise direction; counterclockwise: anticlockwise, counterclockwise, counter clockwise
counterclockwise: anti clockwise; around: in circle, in circles, around in circles, round and round, around in circle
bob: up and down; sway: side to side, from side to side, back and forth, left and right, from left to right and back
place: in place, on spot
"""
SIDES = """
left: on left, on left side, on left hand side, at left, to left of it, in left corner, left of it, on left of it
right: on right, on right side, on right hand side, at right, to right of it, in right corner, right of it, on right of it
"""
PLACES = """
meadow: meadow, park, grass, field, lawn, garden, farm, hill, green grass, sunny field, grassland, pasture, prairie
night sky: night sky, night, space, outer space, stars, starry sky, starry night, dark, moonlight, midnight, galaxy
night sky: night with stars; beach: beach, seaside, sea, ocean, shore, coast, seashore, sandy beach, island, harbour
beach: by sea, by ocean, ocean side, sea side; snow: snow, winter, ice, snowy landscape, snowy field, arctic, blizzard
desert: desert, dune, desert sand, dry desert, sand dunes, sahara; city: city, town, street, road, downtown, city street
city: buildings, skyline, village, highway; forest: forest, woods, jungle, trees, rainforest, woodland, bamboo forest
room: room, house, kitchen, indoors, inside, bedroom, living room, home, office, indoor, table, floor, studio, stage
sunset: sunset, evening, dusk, evening light, sundown, golden hour, twilight, dawn, sunrise; underwater: underwater
underwater: under water, under sea, below sea, deep under sea, under ocean, under waves, deep sea, aquarium, in water
underwater: bottom of sea, bottom of ocean, in ocean, in deep ocean, beneath waves, in pool, in sea
"""
PLACES_FORCED = """
beach: lake, river, on water, water, boat dock; snow: mountain, mountains, snowy, icy; meadow: valley, sky, clouds, cloud
room: castle, school, shop, store, library; city: bridge, station, airport, parking lot; forest: tree, swamp
night sky: moon, planet, mars, full moon, crescent moon; desert: cactus, canyon; underwater: coral, coral reef, reef
"""
CAMERAS_SAID = """
zoom in: zoom in, push in, zooming in, zooms in, pushes in, zoomed in; pan left: camera left; pan right: camera right
zoom out: zoom out, pull out, pull back, zooming out, zooms out, pulls out, pulls back, zoomed out; tilt up: camera up
tilt down: camera down; static: static, still camera, fixed camera, locked camera, steady camera, static camera
static: tripod, still shot, no camera motion, no camera movement, motionless camera, camera does not move, camera still
zoom in*: dolly in, close up, closeup, macro; zoom out*: dolly out, wide shot, wide angle
static*: dolly, tracking, tracking shot, handheld, hand held, crane shot, aerial view, aerial shot, drone shot, arc shot
static*: slow motion, timelapse, time lapse, camera follows, orbit shot, dolly zoom, first person, bird eye view, pov
"""
LENS_VERBS = """
pan: pan, pans, panning, panned; tilt: tilt, tilts, tilting, tilted; zoom: zoom, zooms, zooming; lens: camera, shot, view
toward: closer, nearer, forward; away: away, backward, backwards; moving: motion, movement, moves
"""
OTHER = """
no: no, not, without, never, dont, doesnt, isnt, cannot, wont, arent; link: and, with, beside, near, behind, plus, while
link: next to, in front of, between, alongside, as; count: two, three, four, five, several, many, another, couple, pair
size: small, little, tiny, big, large, huge, giant, gigantic, tall, baby, young, old
stop: in, on, at, of, to, it, is, are, was, be, being, under, over, by, from, into, onto, through, above, below, against
stop: across, along, around, among, there, here, then, out, off, up close, right now, who, which, where, when, so, very
stop: video, clip, movie, film, picture, image, scene, footage, animation, show, shows, showing, make, create, generate
stop: me, i, we, us, you, please, want, see, fps, for, but, or, also, just, still, too, does, do, s, background, setting
stop: inside of, itself, s, has, have, like, side, begins, starts, start, starting, look at, how, what, about, more, toward
stop: spot, ground, landscape, light, deep, sunny, depicting, featuring, all, same, time, both, if, while being, only
"""
# Tags of the artwork that name no thing.
TAGLESS = frozenset(
    """animal animals face food creature fantasy fairy fairytale tale order alpha strong class gang ride launch talk wise
    pirate school travel sport game music drink restaurant tropical weapon clothes clothing shopping excited sweet big
    predator zoo farm male down under fluffy growl spots spiny jump wool curious sly pester extinction large lazy slow stink
    fishing playful dam teeth herd stubborn peace gobble honk colorful pretty proud ugly immortal rebirth rise transform
    revive renewal glory emerge silly ascend small burn life marine ouch sting dinner nature bite disease fever pest rotting
    ear four lucky falling spring anniversary birthday date love romance beauty calm purity bloom autumn fall fallen grow
    house nurturing decor refreshing sour tangy flavoring mexican wrap hungry leg fast french easy over side sunny up roll
    twisted convoluted indecisive japanese steaming fried party prophecy chip tooth bday happy filling stick bar mad men
    drunk summer birth born cup pearl morning shot zoom emergency 5–0 patrol yellow drive cops utility move semi kick wheels
    speed extra flying lake luxury passenger float rescue safety save saver swim super 8 eight pool strike future magic knit
    direct hit curling rock cha dance rattle shake long rhythm break sound band marching post postal boo haunting scary slot
    piece nesting celebrate festive present surprise cold man angry mean red gun war jack fancy formal top casual dressed
    collar weekend comfortable running woman dark neck hand bundle cut bent outdoors camping employed serious married shiny
    army engaged home improvement negative positive shape u handy step catch curve selling old lock major password painting
    cleaning force one pet polar white hot fry pan low hours late time waiting done contact alarm idea light lab science
    electric personal communication cell cheering clue talking trip snap calculation seat back front closet bet paid rich
    win winning prize victory knowledge open reading art creative cooking royal royalty family king queen steam spring
    elegant growth eat health ripe diet serve soft cream treat wild garden lady outdoors sun sea ocean beach bath hotel
    resort sailing medieval engine fire water blue green black pink purple orange gold honey clown witch wizard magician
    soldier warrior thinking person body spin spinning cycling cyclist cycle c t school spirit evil space lotus red driving
    instrument hiking sugar valentine pop stone conch horn desert hump arctic mammal reptile shaved slice breakfast corn ice
    work flipper wing tail delivery board bank million cash dollar cost win dad rain power talk target toilet baby""".split()
)
NOUN_OR_VERB = frozenset(
    "fly saw watch ring key hook bat ram seal cricket rock shell box hit gear bow scale nail bolt roll".split()
)


def rows(table: str) -> list[tuple[str, str]]:
    """(meaning, word) for every word of a table."""
    cells = (cell.partition(":") for line in table.strip().splitlines() for cell in line.split(";"))
    return [(left.strip(), word.strip()) for left, _, right in cells for word in right.split(",") if word.strip()]


def plain(text: str) -> str:
    """Lower case, no accents, straight apostrophes gone; digits and letters of every script stay."""
    folded = unicodedata.normalize("NFKD", text).casefold().replace("’", "'").replace("`", "'")
    return "".join(c for c in folded if not unicodedata.combining(c) and unicodedata.category(c) != "Cf")


def key(phrase: str) -> tuple[str, ...]:
    """The words of a phrase that matter when it is looked up."""
    words = plain(phrase).replace("-", " ").replace("'", "").split()
    return tuple(w for w in words if w not in ARTICLES and w not in ADVERBS)


def plural(name: str) -> str:
    """The regular plural of a name's last word."""
    special = {"mouse": "mice", "goose": "geese", "wolf": "wolves", "leaf": "leaves", "man": "men", "ox": "oxen"}
    head, _, last = name.rpartition(" ")
    if last in special:
        last = special[last]
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "es" if last.endswith(("s", "x", "sh", "ch", "z")) else "s"
    return f"{head} {last}".strip()


def forms(verb: str) -> list[str]:
    """A verb in the forms that prompts use; of a phrase the first word is bent."""
    first, _, rest = verb.partition(" ")
    stem = first[:-1] if first.endswith("e") else first
    third = plural(first) if not first.endswith("o") else first + "es"
    bent = [first, third, stem + "ing", stem + "ed"]
    bent += [w for base, w in rows(IRREGULAR) if base == first]
    return [f"{w} {rest}".strip() for w in bent]


@lru_cache(maxsize=1)
def nano_names() -> tuple[str, ...]:
    """Names of the objects that nano was trained on."""
    return tuple(atlas.artworks()[k].name for k in atlas.nano_vocabulary())


@lru_cache(maxsize=1)
def readings() -> dict[str, dict[str, tuple[str, str]]]:
    """Verb class -> direction that is said ("-" for none) -> motion and direction of the world."""
    table: dict[str, dict[str, tuple[str, str]]] = {}
    for name, line in CLASSES.items():
        cells = (cell.split() for cell in line.split(","))
        table[name] = {said: (motion, direction) for said, motion, direction in cells}
    return table


@lru_cache(maxsize=4096)
def stands_for(word: str) -> tuple[str, ...]:
    """Nano's objects in the order in which they stand for something that nano does not know."""
    picked = [name for name, other in rows(NEAR) if key(other) == key(word)]
    names = atlas.by_name()
    if word not in names:
        tagged = [a.name for a in atlas.artworks() if word in {plain(t) for t in a.tags}]
        known = [n for n in tagged if n in nano_names()]
        word = (known or picked or tagged or ["fox"])[0]
        picked += known
    meant = names[word]
    if not picked and meant.family in FAMILY_STANDS:
        picked.append(FAMILY_STANDS[meant.family])

    def likeness(name: str) -> float:
        other = names[name]
        shared = len((set(meant.tags) & set(other.tags)) - TAGLESS)
        return 4 * (meant.family == other.family) + 2 * shared + (meant.colour == other.colour) + (
            0.5 * (meant.material == other.material)
        )  # fmt: skip

    return tuple(dict.fromkeys([*picked, *sorted(nano_names(), key=likeness, reverse=True)]))


@lru_cache(maxsize=1)
def index() -> tuple[dict[tuple[str, ...], Entry], int]:
    """Word sequences and their meanings, and the length of the longest; what is entered first stays."""
    found: dict[tuple[str, ...], Entry] = {}

    def enter(phrase: str, kind: str, value: str, exact: bool = True) -> None:
        if words := key(phrase):
            found.setdefault(words, Entry(kind, value, exact))

    def enter_noun(name: str, kind: str, value: str, exact: bool = True) -> None:
        enter(name, kind, value, exact)
        enter(plural(name), "many " + kind, value, exact)

    for name in nano_names():
        enter("cherries" if name == "cherries" else name, "object", name)
    for colour in COLOURS.split():
        enter(colour, "colour", colour)
    for table, kind in ((OTHER, ""), (DIRECTIONS, "direction"), (SIDES, "side"), (LENS_VERBS, "")):
        for value, word in rows(table):
            if word != "moves":
                enter(word, kind or value, value)
    for background, phrases in BACKGROUND_PHRASES.items():
        for phrase in phrases:
            enter(phrase, "background", background)
    for camera, phrases in CAMERA_PHRASES.items():
        for phrase in phrases:
            enter(phrase, "camera", camera)
    for motion, phrases in MOTION_PHRASES.items():
        for phrase in phrases:
            for direction in (*MOTIONS[motion], "anticlockwise"):
                if "{d}" in phrase and (direction != "anticlockwise" or "clockwise" in MOTIONS[motion]):
                    meant = "counterclockwise" if direction == "anticlockwise" else direction
                    enter(phrase.format(d=direction), "motion", f"{motion} {meant}")
                elif "{d}" not in phrase and direction != "anticlockwise":
                    enter(phrase, "motion", f"{motion} {direction}")
    for name in nano_names():
        enter_noun(name, "object", name)
    for name, other in rows(SAME):
        enter_noun(other, "object", name)
    for value, verb in rows(VERBS):
        for form in forms(verb):
            enter(form, "verb", value.rstrip("*"), not value.endswith("*"))
    for value, phrase in rows(CAMERAS_SAID):
        enter(phrase, "camera", value.rstrip("*"), not value.endswith("*"))
    for value, place in rows(PLACES):
        for preposition in ("", "in ", "on ", "at ", "under ", "by "):
            enter(preposition + place, "background", value)
    for value, place in rows(PLACES_FORCED):
        enter(place, "hint", value)
    for word in PEOPLE.split():
        enter(word, "person", word)
    for _, other in rows(NEAR):
        enter_noun(other, "like", other, False)
    for artwork in atlas.artworks():
        enter_noun(artwork.name, "like", artwork.name, False)
    for artwork in atlas.artworks():
        for tag in artwork.tags:
            if tag not in TAGLESS and artwork.family != "face" and len(tag) > 2:
                enter_noun(plain(tag), "like", plain(tag), False)
    for word in NOUN_OR_VERB & set(atlas.by_name()):
        found[("a", word)] = Entry("like", word, False)
    return found, max(map(len, found))
