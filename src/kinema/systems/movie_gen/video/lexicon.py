"""The words that nano's prompts are read with, as tables: a meaning, a colon, the words for it; cells end at ";".

A * marks words for which nano has only something near.
"""

from __future__ import annotations

# Words that never change a meaning.
ARTICLES = """
a an the one its his her their my your our this that these those some
"""
ADVERBS = """
slow slowly gently softly quickly fast rapidly smoothly suddenly happily quietly calmly
"""
# Adverbs that are dropped without a notice: the training captions say "slow" themselves.
QUIET_ADVERBS = """
slow slowly gently softly
"""
# Things only where an article stands before them.
NOUN_OR_VERB = """
fly saw watch ring hook
"""
# Other names of nano's own objects.
SAME = """
fox: vixen; cat: kitten, kitty, house cat, tomcat; dog: puppy, pup, doggy, hound; rabbit: bunny, hare
tiger: tigress; panda: panda bear, giant panda; lion: lioness; pig: piglet, hog
hen: chicken; duck: duckling; flamingo: flamingoes; frog: toad, tree frog
turtle: tortoise, terrapin, sea turtle
snake: serpent; crocodile: alligator; tropical fish: tropical fishes; whale: spouting whale, blue whale
honeybee: bee, bumblebee, honey bee, bumble bee; ladybug: ladybird, lady beetle, lady bug; sunflower: sun flower
mushroom: toadstool; red apple: apple; cherries: cherry; watermelon: water melon
hamburger: burger, cheeseburger; pizza: slice of pizza, pizza slice; doughnut: donut; cupcake: cup cake, muffin
ice cream: icecream, soft ice cream, ice cream cone; car: automobile, red car
bus: school bus, city bus, oncoming bus
fire engine: fire truck, firetruck; bicycle: bike; locomotive: train, steam locomotive, steam train
locomotive: steam engine
rocket: rocket ship, space rocket; helicopter: copter, chopper
airplane: plane, aeroplane, small airplane, jet, airliner
sailboat: sailing boat, sail boat, yacht, sailing ship; soccer ball: football, soccerball
basketball: basket ball
guitar: electric guitar; drum: drum with drumsticks; teddy bear: teddy, plush bear, stuffed bear
balloon: party balloon
owl: night owl; penguin: emperor penguin; tractor: farm tractor; robot: android
"""
# What nano paints instead, picked by hand: names of the full atlas, families, and everyday words.
NEAR = """
fox: wolf, raccoon, chipmunk, squirrel, coyote, jackal, animal, creature, deer, kangaroo, otter, skunk
fox: badger, weasel
cat: pet, lynx; dog: poodle, hyena, wolf, coyote; rabbit: mouse, rat, hamster, hedgehog, sheep, lamb
elephant: rhinoceros, hippopotamus, mammoth, rhino, hippo; tiger: leopard, cheetah, jaguar, panther, puma
tiger: big cat
panda: bear, polar bear, koala, gorilla, badger, sloth, monkey; lion: camel, bison, beaver, orangutan
zebra: horse, donkey, unicorn, pony, carousel horse, giraffe, llama; pig: boar, cow, ox, goat, ram, bull
parrot: bird, birdie, eagle, bluebird, peacock, hawk, toucan, phoenix, raven, crow, seagull, sparrow, pigeon
parrot: dove, gull
hen: rooster, turkey, chick, baby chick, hatching chick, cock; duck: goose, swan, bird; owl: bat, falcon, vulture
flamingo: heron, stork, ostrich, dodo; penguin: seal, puffin; turtle: reptile, snail
crocodile: lizard, dragon, dinosaur, t rex, sauropod, iguana, gecko, chameleon; snake: worm, eel, caterpillar
octopus: squid, jellyfish; tropical fish: fish, blowfish, goldfish, clownfish; whale: shark, dolphin, orca
crab: lobster, shrimp, scorpion, spider, starfish, star fish; honeybee: wasp, mosquito, hornet
ladybug: insect, bug, beetle, ant, cockroach; butterfly: dragonfly, moth
sunflower: flower, plant, daisy, blossom
tulip: hyacinth, lotus; rose: bouquet, hibiscus, cherry blossom
red apple: fruit, green apple, tomato, peach, pear
banana: lemon, corn, mango; strawberry: berry, raspberry; watermelon: melon; cherries: grapes, blueberries
broccoli: vegetable, cabbage, lettuce, cauliflower, bonsai; carrot: hot pepper, cucumber
hamburger: food, sandwich, hot dog, bread, meal, lunch, dinner; cupcake: cake, dessert, candy, muffin, sweet
doughnut: cookie, bagel, wheel; ice cream: drink, shaved ice, lollipop, milkshake
car: taxi, police car, race car, racing car, jeep, vehicle, ambulance, van, suv, cart, sled
bus: tram, tram car, trolleybus, minibus, lorry; fire engine: truck, delivery truck, pickup truck
bicycle: motorcycle, motor scooter, kick scooter, scooter, tricycle, skateboard
tractor: bulldozer, excavator, digger
locomotive: bullet train, subway, metro; rocket: spaceship, spacecraft, missile, satellite, comet, ufo
rocket: flying saucer
helicopter: drone; airplane: aircraft, kite, glider, paper plane
balloon: hot air balloon, parachute, face, bubble
sailboat: boat, ship, canoe, ferry, speedboat, motor boat, passenger ship, raft
soccer ball: ball, volleyball, baseball, golf ball, tennis ball, beach ball, eight ball, globe
guitar: instrument, violin, banjo, harp, piano, musical keyboard, cello, ukulele; drum: long drum, spinning top
trumpet: saxophone, flute, horn, trombone, postal horn; crown: hat, top hat, tiara
teddy bear: toy, doll, plush toy, snowman; robot: monster, alien, device, machine, skull, computer, statue
"""
PEOPLE = """
person people human man woman men women boy girl child children kid guy lady gentleman king queen prince
princess knight pirate astronaut wizard witch soldier dancer farmer chef ninja mermaid santa clown somebody
someone cyclist driver skater cowboy angel family crowd firefighter policeman
"""
FAMILY_STANDS = {
    "drink": "ice cream",
    "tool": "guitar",
    "device": "robot",
    "furniture": "drum",
    "face": "balloon",
}
# Colours that nano's objects also have, beside the atlas's main one.
OTHER_COLOURS = {
    "panda": "black", "zebra": "white", "penguin": "white", "soccer ball": "black", "pig": "pink", "frog": "green",
    "snake": "green", "turtle": "green", "crocodile": "green", "broccoli": "green", "banana": "yellow",
    "watermelon": "green", "red apple": "red", "honeybee": "black", "tiger": "black", "mushroom": "red",
    "cat": "orange", "dog": "brown", "duck": "green", "lion": "yellow", "crown": "golden",
    "trumpet": "golden", "cherries": "red",
}  # fmt: skip
COLOURS = """
red orange yellow green blue purple violet pink brown black white grey gray gold golden silver cyan magenta
turquoise beige crimson scarlet teal
"""
# How a verb class reads in each direction; "-" is no direction.
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
go: slide, glide, move, go, walk, run, drive, travel, fly, swim, march, crawl, race, drift, sail, ride
go: cross, skate
go: stroll, sprint, gallop, trot, slither, rush, cruise, chase, approach, pass, zoom past, zoom by, come, flow
roll: roll, tumble, cartwheel; bounce: bounce; hop: hop, jump, leap, bob; jump: bounce in place, skip
float: float, hover, levitate, flutter; fall: fall, drop, sink, plunge, plummet, land, descend, dive, fall over
fall: fall down
rise: rise, rise up, ascend, lift off, take off, climb, launch, soar, blast off
rest: rest, stay, stand, wait, sit, pose, sit down
spin: spin, rotate, turn, twirl, whirl, revolve, pirouette; orbit: orbit, circle, circulate
grow: grow, get bigger, become larger, get larger, become bigger, expand, enlarge, inflate, swell, become big
shrink: shrink, get smaller, become smaller, become tiny, deflate, diminish, become small, get tiny
shake: shake, wobble, shiver, tremble, vibrate, jiggle, quiver, wiggle, sway, swing
shake*: dance, laugh, play, sing, talk, bark, eat, wave, fight, chew, roar, howl, growl, meow, juggle, clap
rest*: sleep, look, watch, hide, stare, smile, read, drink, nap, lie, hang, glow, shine
orbit*: loop; grow*: bloom, open, appear; shrink*: melt, disappear, vanish; jump*: celebrate, cheer
fall*: crash, collapse; go*: carry, bring, lead, follow, push, pull, throw, kick, hunt
rest: standing still, stand still, stay in place, not move, motionless, stay still, no motion, no movement
"""
IRREGULAR = """
run: ran, running; drive: drove, driven; fly: flew; swim: swam, swimming; ride: rode; spin: spun, spinning; fall: fell
rise: rising, rose; swing: swung; stand: stood; sit: sat, sitting; shake: shook; shrink: shrank; eat: ate
hop: hopping, hopped; drop: dropping, dropped; skip: skipping; bob: bobbing; sing: sang; sink: sank
go: went; come: came
get: getting, got; become: became; plummet: plummeting; grow: grew; sleep: slept; take: took; hide: hid
"""
DIRECTIONS = """
left: left, leftward, leftwards, to left, towards left, toward left, from right to left, right to left
left: from right
left: to left side, to left hand side, in left direction; right: to right side, to right hand side
right: in right direction
right: right, rightward, rightwards, to right, towards right, toward right, from left to right
right: left to right, from left
up: up, upward, upwards, skyward, skywards, into air, into sky, up into air, up into sky, up in air
up: from below, sky high
down: down, downward, downwards, to ground, from above, from sky, to floor, from top to bottom, out of sky
clockwise: clockwise, in clockwise direction; counterclockwise: anticlockwise, counterclockwise
counterclockwise: counter clockwise
counterclockwise: anti clockwise; around: in circle, in circles, around in circles, round and round
around: around in circle
bob: up and down; sway: side to side, from side to side, back and forth, left and right
sway: from left to right and back
place: in place, on spot
"""
SIDES = """
left: on left, on left side, on left hand side, at left, to left of it, in left corner, left of it
left: on left of it
right: on right, on right side, on right hand side, at right, to right of it, in right corner, right of it
right: on right of it
"""
PLACES = """
meadow: meadow, football field, park, grass, field, lawn, garden, farm, hill, green grass, sunny field
meadow: grassland, pasture, prairie, savanna, savannah
night sky: night sky, night, space, outer space, stars, starry sky, starry night, dark, moonlight, midnight
night sky: galaxy
night sky: night with stars; beach: beach, seaside, sea, ocean, shore, coast, seashore, sandy beach, island
beach: harbour
beach: by sea, by ocean, ocean side, sea side; snow: snow, winter, ice, snowy landscape, snowy field, arctic
snow: blizzard
desert: desert, dune, desert sand, dry desert, sand dunes, sahara
city: city, town, street, road, downtown, city street
city: buildings, building, skyline, village, highway; forest: forest, woods, jungle, trees, rainforest, woodland
forest: bamboo forest
room: room, house, kitchen, indoors, inside, bedroom, living room, home, office, indoor, table, floor
room: studio, stage
sunset: sunset, evening, dusk, evening light, sundown, golden hour, twilight, dawn, sunrise
underwater: underwater
underwater: under water, under sea, below sea, deep under sea, under ocean, under waves, deep sea, aquarium
underwater: bottom of sea, bottom of ocean, in deep ocean, beneath waves; sea: in sea, in ocean, in water, in pool
"""
# Weaker than the above: taken where no background is named.
HINTS = """
beach: lake, river, on water, water, boat dock; snow: mountain, mountains, snowy, icy
meadow: valley, sky, clouds, cloud, castle
room: school, shop, store, library; city: bridge, station, airport, parking lot; forest: tree, swamp
night sky: moon, planet, star, mars, full moon, crescent moon; desert: cactus, canyon
underwater: coral, coral reef, reef
"""
CAMERAS_SAID = """
zoom in: zoom in, push in, zooming in, zooms in, pushes in, zoomed in; pan left: camera left
pan right: camera right
zoom out: zoom out, pull out, pull back, zooming out, zooms out, pulls out, pulls back, zoomed out
tilt up: camera up
tilt down: camera down; static: static, still camera, fixed camera, locked camera, steady camera, static camera
static: tripod, still shot, no camera motion, no camera movement, motionless camera, camera does not move
static: camera still
zoom in*: dolly in, close up, closeup, macro; zoom out*: dolly out, wide shot, wide angle
static*: dolly, tracking, tracking shot, handheld, hand held, crane shot, aerial view, aerial shot
static*: drone shot, arc shot
static*: slow motion, timelapse, time lapse, camera follows, orbit shot, dolly zoom, first person
static*: bird eye view, birds eye view, pov, view from above, shot from above
"""
LENS_VERBS = """
pan: pan, pans, panning, panned; tilt: tilt, tilts, tilting, tilted; zoom: zoom, zooms, zooming
lens: camera, shot, view
toward: closer, nearer, forward; away: away, backward, backwards; moving: motion, movement
"""
OTHER = """
no: no, not, without, never, dont, doesnt, isnt, cannot, wont, arent
link: and, with, beside, near, behind, plus, while
link: next to, in front of, between, alongside, as; count: two, three, four, five, several, many, another
count: couple, pair
size: small, little, tiny, big, large, huge, giant, gigantic, tall, baby, young, old
stop: in, on, at, of, to, it, is, are, was, be, being, under, over, by, from, into, onto, through, above
stop: below, against
stop: across, along, around, among, there, here, then, out, off, up close, right now, who, which, where
stop: when, so, very
stop: video, clip, movie, film, picture, image, scene, footage, animation, show, shows, showing, make
stop: create, generate
stop: me, i, we, he, she, they, him, them, sun, us, you, please, want, see, fps, for, but, or, also, just
stop: still, too, does, do, s, background, setting
stop: behind it, beside it, next to it, near it, inside of, itself, s, has, have, like, side, begins, starts
stop: start, starting, look at, how, what, about, more, toward
stop: spot, ground, landscape, light, deep, sunny, depicting, featuring, all, same, time, both, if
stop: while being, only, cup of, glass of, slice of, piece of, bunch of, group of, bowl of, plate of
"""
# Tags of the artwork that name no thing.
TAGLESS = """
5–0 8 absorbing acidity alarm alpha american angry animal animals anniversary antarctica aquarius archer arctic
aries army art articulated ascend ascension athletic attraction australia auto autumn baby back backpacking bag
balance band bank bar bath bathing bathroom bday beach beat beauty bent bet big billion billionaire birth birthday
bite black bloom blue board body bollywood boo born box boxing break breakfast brr buddhism bundle burn c
calculation calm camping cancer capricorn carpenter cash casual catch cavities celebrate celebration cell cha
champion champs cheering chip choy christmas cinco class cleaning closet clothes clothing clown clue cold collar
colorful comfortable communication conch contact convoluted cooking cops corn cost cream creative creature crescent
cup cupid curious curling curve cut cutting cycle cycling cyclist dad dam dance dark dart date decor delivery desert
diamond diet dinner direct disease dollar done down dressed drink drive driving drunk ear easy eat education eight
electric elegant emerge emergency employed engaged engagement engine ensnare entertainment equestrian evil excited
experiment extinction extinguish extra eye eyes face fairy fairytale fall fallen falling family fancy fantasy farm
farming fashion fast festive fever filling fire fishing flamboyant flavoring flipper float flock fluctuate fluffy
flying food force formal four french fried front fry frying future gaggle gamble gambling game gang garden glory
gobble gold graduation grain green grow growl growth gun halloween hand handy happy hatching haunting health herd
high-heeled high-speed hiking hinduism hit hollywood home honey honk horn hot hotel hours house hrs hump hungry ice
idea immortal improvement indecisive instrument interlocking invertebrate irish jack japanese jump justice kick king
knit knowledge lab lady lake large late launch lazy leaf leg leo libra life light lock long lotus love low lucky
luxury mad magic magician magnetic major malaria male mammal man mane marching marine married marsupial mayo mean
mechanic medieval men mexican million millionaire moo morning motor move movie music nature neck negative nesting
nose nurturing ocean old one open orange order ornithology orthoptera ostentatious ouch outdoors over packing paid
painting pan party passenger password patrol peace pearl person personal pest pester pet pick-up piece pink pirate
pisces pixelated playful plumber polar pool poop pop positive post postal potassium potted poultry power predator
present pretty prize prophecy proud purity purple queen quench racehorse railway rain rattle rawr reading rebirth
rebound record recreational red refreshing reincarnation reinvent renewal repairs repercussion reptile rescue resort
restaurant revival revive rhythm rich ride ripe rise rock roll romance rotting royal royalty running russia safari
safety sagittarius sailing save saver scary scholar school science scorpio scorpius sea seat selling semi serenity
serious serve shake shape shaved shiny shipping shopping shot side silly slay slice slot slow sly small snap soak
soft soldier sound sour space sparkling speed spin spinning spiny spiral spirit split sport sports spots spouting
spring springtime sprinkles squeeze steam steaming step stick sting stink stone strike stringed stripe strong
stubborn study stuffed suction sugar summer sun sunny super surprise sweeping sweet swim t tai tail tale talk
talking tangy target taurus tbt teeth thanksgiving thinking time toilet tool tooth top transform transportation
travel treat trim trip tropical tropics tuk tusk twisted u ugly ultimate under underarm unlock up utility valentine
victory virus waiting wall war warrior water weapon wedding weekend weight wheels white wild win wing winning wise
witch wizard woman wood wool wooly work wrap wrapped yellow zest zodiac zoo zoom
"""
