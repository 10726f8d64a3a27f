"""Pack the Small World's artwork: Noto emoji (Apache-2.0) with names from emojibase (MIT) into one atlas.

    npm pack emoji-datasource-google@16.0.0 emojibase-data@17.0.0      # then unpack both archives
    python tools/build_atlas.py --artwork emoji-datasource-google/package --names emojibase-data/package

Writes src/kinema/world/assets/atlas.png (64-pixel cells, 24 a row, straight alpha) and atlas.json (a row an
object: name, family, material, colour, tags). Run it only to change the vocabulary: indices are positions in
the table below, scenes are pure in (split, index), so a new order makes a new world.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

CELL, COLUMNS = 64, 24

# family -> (material of its impacts, "name" or "name=emoji label" where the world's name is the better word)
FAMILIES: dict[str, tuple[str, str]] = {
    "mammal": (
        "soft",
        "fox; cat; dog; rabbit; elephant; tiger; panda; lion; zebra; pig; mouse; rat; ox; cow; leopard; horse; ram; "
        "goat; monkey; poodle; boar; koala; camel; hamster; wolf; polar bear; bear; chipmunk; unicorn; bat; deer; "
        "gorilla; rhinoceros; giraffe; hedgehog; kangaroo; llama; hippopotamus; raccoon; badger; mammoth; sloth; "
        "otter; orangutan; skunk; beaver; bison; moose; donkey",
    ),
    "bird": (
        "soft",
        "penguin; owl; parrot; hen=chicken; duck; flamingo; rooster; hatching chick; baby chick; bluebird=bird; dove; "
        "turkey; eagle; peacock; swan; dodo; phoenix; goose",
    ),
    "reptile": ("soft", "frog; turtle; snake; crocodile; dragon; lizard; sauropod; T-Rex"),
    "sea animal": (
        "soft",
        "octopus; tropical fish; whale=spouting whale; crab; dolphin; shark; shrimp; squid; lobster; seal; "
        "blowfish; jellyfish; spiral shell; fish",
    ),
    "insect": (
        "soft",
        "butterfly; ladybug=lady beetle; honeybee; snail; caterpillar=bug; ant; spider; scorpion; cricket; mosquito; "
        "fly; worm; beetle; cockroach",
    ),
    "plant": (
        "soft",
        "sunflower; tulip; rose; mushroom; four leaf clover; maple leaf; cherry blossom; hibiscus; daisy=blossom; "
        "bouquet; lotus; hyacinth; herb; fallen leaf; potted plant; sheaf of rice; white flower",
    ),
    "fruit": (
        "soft",
        "red apple; banana; strawberry; watermelon; pineapple; orange=tangerine; cherries; tomato; grapes; melon; lime; "
        "lemon; mango; green apple; pear; peach; kiwi fruit; coconut; blueberries; olive",
    ),
    "vegetable": (
        "soft",
        "carrot; broccoli; chestnut; hot pepper; ear of corn; eggplant; avocado; cucumber; potato; peanuts; "
        "leafy green; garlic; onion; bell pepper; pea pod",
    ),
    "meal": (
        "soft",
        "hamburger; pizza; hot dog; taco; burrito; poultry leg; bread; french fries; popcorn; croissant; bacon; "
        "baguette bread; green salad; fried egg=cooking; pancakes; pretzel; sandwich; bagel; cheese wedge; waffle; "
        "rice ball; curry rice; steaming bowl; spaghetti; sushi; fried shrimp; bento box; dumpling; fortune cookie",
    ),
    "sweet": (
        "soft",
        "doughnut; cupcake; ice cream=soft ice cream; shaved ice; cookie; chocolate bar; candy; lollipop; custard; "
        "honey pot; shortcake; birthday cake; pie; dango",
    ),
    "drink": (
        "glass",
        "wine glass; cocktail glass; tropical drink; beer mug; baby bottle; glass of milk; cup with straw; "
        "beverage box; bubble tea; teapot; hot coffee=hot beverage; sake; tumbler glass",
    ),
    "vehicle": (
        "metal",
        "car=automobile; bus; fire engine; tractor; bicycle; locomotive; motorcycle; racing car; tram car; ambulance; "
        "police car; taxi; jeep=sport utility vehicle; delivery truck; lorry=articulated lorry; kick scooter; motor scooter; "
        "skateboard; auto rickshaw; pickup truck; roller skate; bullet train; trolleybus; minibus; sled",
    ),
    "aircraft": (
        "metal",
        "rocket; helicopter; airplane; small airplane; satellite; flying saucer; parachute; kite; comet",
    ),
    "boat": (
        "wood",
        "sailboat; speedboat; motor boat; passenger ship; canoe; ferry; ring buoy; anchor; ship",
    ),
    "ball": (
        "rubber",
        "soccer ball; basketball; volleyball; american football; rugby football; baseball; softball; eight ball=pool 8 ball; "
        "bowling; tennis; crystal ball; yarn; beach disc=flying disc; bullseye; boxing glove; curling stone",
    ),
    "instrument": (
        "wood",
        "guitar; drum; trumpet; saxophone; musical keyboard; violin; maracas; flute; harp; banjo; accordion; "
        "long drum; bell; postal horn",
    ),
    "toy": (
        "plastic",
        "balloon; teddy bear; robot; ghost; video game; slot machine; game die; joystick; puzzle piece; yo-yo; "
        "magic wand; piñata; nesting dolls; water pistol; jack-o-lantern; wrapped gift; alien monster; snowman=snowman without snow; "
        "clown face; alien; goblin; ogre",
    ),
    "clothing": (
        "soft",
        "crown; top hat; t-shirt; jeans; dress; kimono; purse; handbag; backpack; running shoe; high-heeled shoe; "
        "sunglasses; scarf; gloves; coat; socks; billed cap; graduation cap; hiking boot; necktie; ring; gem stone; "
        "military helmet; safety vest; shorts",
    ),
    "tool": (
        "metal",
        "hammer; wrench; nut and bolt; dagger; magnet; axe; saw=carpentry saw; screwdriver; ladder; hook; "
        "toolbox; gear; key; old key; scissors; paintbrush; pencil; crayon; pushpin; paperclip; broom; bucket; "
        "fire extinguisher; shield; bow and arrow; boomerang; balance scale; sponge; plunger; umbrella",
    ),
    "device": (
        "plastic",
        "camera; television; laptop; telephone; mobile phone; radio; printer; computer mouse; keyboard; battery; "
        "light bulb; flashlight; microscope; telescope; alarm clock; watch; hourglass=hourglass done; megaphone; "
        "studio microphone; headphone; floppy disk; film projector; movie camera; abacus; satellite antenna",
    ),
    "furniture": (
        "wood",
        "chair; bathtub; toilet; door; couch=couch and lamp; shopping cart; basket; package; wooden log=wood; "
        "treasure sack=money bag; trophy; open book; books; scroll; artist palette; framed picture; candle; "
        "red lantern=red paper lantern; postbox; luggage; brick; moai; amphora; carousel horse",
    ),
    "face": (
        "rubber",
        "grinning face; winking face; smiling face with heart-eyes; star-struck; smiling face with sunglasses; "
        "nerd face; thinking face; sleeping face; crying face; angry face; cowboy hat face; partying face; "
        "astonished face; face with tongue; hot face; cold face; smiling face with halo; angry face with horns; "
        "skull; disguised face",
    ),
}

# Decoration for backgrounds only: never an actor, so a tree in the forest is no false object.
DECOR = (
    "evergreen tree; deciduous tree; palm tree; cactus; seedling; cloud; star; glowing star; sun; full moon; "
    "crescent moon; house; office building; department store; coral; rock; snowflake; window; bed; potted fern=herb; "
    "leafless tree; castle; ringed planet; desert island; mountain; snow-capped mountain; tent; beach umbrella=umbrella on ground; "
    "bookshelf=books; wall clock=mantelpiece clock; painting=framed picture; fern=leafy green; streetlight=horizontal traffic light"
)

# One look for two names would make identity a coin toss; objects whose material is not their family's.
MATERIALS = {
    "rubber": "teapot",
    "glass": "crystal ball; light bulb; telescope; candle",
    "metal": "drum; trumpet; saxophone; bell; postal horn; crown; ring; robot; trophy; battery; alarm clock; shopping cart; "
    "anchor; military helmet; bowling",
    "wood": "pencil; ladder; broom; canoe; bow and arrow; boomerang; nesting dolls; skateboard; sled; paintbrush",
    "stone": "brick; moai; curling stone; gem stone; amphora; bathtub; toilet; skull; spiral shell; coconut; eight ball",
    "plastic": "kick scooter; roller skate; ring buoy; kite; parachute; bucket; flying saucer; beverage box; baby bottle; crayon",
    "soft": "yarn; boxing glove; ghost; balloon; teddy bear; umbrella; couch; treasure sack",
}

# Hue centres in degrees for saturated pixels.
HUES = (
    ("red", 0),
    ("orange", 28),
    ("yellow", 50),
    ("green", 115),
    ("blue", 210),
    ("purple", 280),
    ("pink", 330),
)


def colour_name(rgba: np.ndarray) -> str:
    """The name of the colour that most opaque pixels have: (H, W, 4) uint8 -> one of eleven basic words."""
    pixels = rgba.reshape(-1, 4).astype(np.float32) / 255
    pixels = pixels[pixels[:, 3] > 0.6, :3]
    high, low = pixels.max(1), pixels.min(1)
    chroma = high - low
    sat = chroma / np.maximum(high, 1e-6)
    r, g, b = pixels.T
    hue = np.where(
        high == r, (g - b) / np.maximum(chroma, 1e-6),
        np.where(high == g, 2 + (b - r) / np.maximum(chroma, 1e-6), 4 + (r - g) / np.maximum(chroma, 1e-6)),
    ) * 60 % 360  # fmt: skip
    votes: dict[str, float] = {}
    grey = (sat < 0.22) | (high < 0.18)
    for name, mask in (
        ("white", grey & (high > 0.8)),
        ("grey", grey & (high <= 0.8) & (high > 0.35)),
        ("black", grey & (high <= 0.35)),
    ):
        votes[name] = float(mask.sum()) * 0.8
    centres = np.array([h for _, h in HUES])
    nearest = np.abs((hue[:, None] - centres + 180) % 360 - 180).argmin(1)
    for k, (name, _) in enumerate(HUES):
        mask = ~grey & (nearest == k)
        dark = (
            mask & (high < (0.8 if name == "orange" else 0.6))
            if name in ("red", "orange", "yellow")
            else np.zeros_like(mask)
        )
        votes["brown"] = votes.get("brown", 0.0) + float(dark.sum())
        votes[name] = float((mask & ~dark).sum())
    return max(votes, key=lambda n: votes[n])


def split_names(text: str) -> list[tuple[str, str]]:
    """`name=label; name` -> [(name, label), ...]."""
    pairs = [part.strip().split("=") for part in text.split(";")]
    return [(p[0], p[-1]) for p in pairs]


def square(picture: Image.Image) -> np.ndarray:
    """Centre the opaque part in a CELL x CELL square with a margin of two pixels, at most magnified 1.15 times."""
    rgba = picture.convert("RGBA")
    box = rgba.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    part = rgba.crop(box)
    scale = min((CELL - 4) / max(part.size), 1.15)
    size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
    # Resize premultiplied, so that no dark rim appears.
    arr = np.asarray(part).astype(np.float32) / 255
    arr[..., :3] *= arr[..., 3:]
    planes = [
        np.asarray(Image.fromarray(arr[..., c]).resize(size, Image.Resampling.BICUBIC)) for c in range(4)
    ]
    out = np.zeros((CELL, CELL, 4), np.float32)
    top, left = (CELL - size[1]) // 2, (CELL - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = np.stack(planes, -1).clip(0, 1)
    alpha = out[..., 3:]
    out[..., :3] = np.where(alpha > 1e-3, out[..., :3] / np.maximum(alpha, 1e-3), 0).clip(0, 1)
    return (out * 255 + 0.5).astype(np.uint8)


def main() -> None:
    """Cut the pictures out, name them and write the atlas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artwork", type=Path, required=True)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("src/kinema/world/assets"))
    args = parser.parse_args()
    table = {e["unified"].lower(): e["image"] for e in json.loads((args.artwork / "emoji.json").read_text())}
    by_label: dict[str, tuple[str, list[str]]] = {}
    for entry in json.loads((args.names / "en" / "data.json").read_text()):
        code = entry["hexcode"].lower()
        image = table.get(code) or table.get(code + "-fe0f") or table.get(code.replace("-fe0f", ""))
        if image:
            by_label[entry["label"]] = (image, entry.get("tags", []))
    special = {n: m for m, names in MATERIALS.items() for n, _ in split_names(names)}
    rows, cells, seen = [], [], set()
    groups = [(f, m, names) for f, (m, names) in FAMILIES.items()] + [("decor", "none", DECOR)]
    for family, material, names in groups:
        for name, label in split_names(names):
            if label not in by_label:
                raise SystemExit(f"no emoji is labelled {label!r} (wanted for {name!r} in {family})")
            image, tags = by_label[label]
            if family != "decor" and (name in seen or image in seen):
                raise SystemExit(f"{name!r} stands twice in the table")
            seen |= {name, image}
            cell = square(Image.open(args.artwork / "img" / "google" / "64" / image))
            cells.append(cell)
            rows.append(
                {
                    "name": name, "family": family, "material": special.get(name, material),
                    "colour": colour_name(cell), "tags": sorted({t.lower() for t in tags} - {name}),
                }
            )  # fmt: skip
    lines = -(-len(cells) // COLUMNS)
    sheet = np.zeros((lines * CELL, COLUMNS * CELL, 4), np.uint8)
    for k, cell in enumerate(cells):
        y, x = divmod(k, COLUMNS)
        sheet[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL] = cell
    args.out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(args.out / "atlas.png", optimize=True)
    body = ",\n".join("  " + json.dumps(r, ensure_ascii=False) for r in rows)
    (args.out / "atlas.json").write_text(f"[\n{body}\n]\n")
    print(f"{len(rows)} cells, {sum(r['family'] != 'decor' for r in rows)} objects")


if __name__ == "__main__":
    main()
