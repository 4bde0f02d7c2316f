"""The small world of the lab model: concepts with their words, categories with their members, attributes, wordings.

Read by corpus.py (training text), measure.py (held-out facts, concept words). Everything here is our own.
A fact is a triple (entity, claim, wording); held_out() sets one triple in ten apart by a hash of its text, so the
entity, the claim and the wording are all seen in training, but never together.
"""
import hashlib
import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO_DATA = HERE.parent.parent


def read_concepts():
    """All 102 concepts: list of (name, category)."""
    table = json.loads((REPO_DATA / "concepts.json").read_text())
    groups = ["topics", "emotions", "styles", "personas", "meta", "abstract"]
    return [(name, group) for group in groups for name in table[group]]


def read_concept_words():
    """name -> (nouns, adjectives, verbs), from concept-words.txt."""
    words = {}
    for line in (HERE / "concept-words.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, rest = line.split(":")
        words[name] = tuple(part.split() for part in rest.split("|"))
    return words


# name -> (singular with article, plural, members; a leading "+" marks a member that takes no article)
CATEGORIES = {
    "food": ("a food", "foods", "+bread +cheese +rice +soup +cake +pasta +butter +honey +pizza +salad +yogurt +jam"),
    "fruit": ("a fruit", "fruits", "apple banana pear peach grape cherry plum mango lemon melon kiwi fig"),
    "vegetable": ("a vegetable", "vegetables", "carrot potato onion cabbage leek turnip radish cucumber beet pumpkin"),
    "drink": ("a drink", "drinks", "+tea +coffee +milk +juice +lemonade +cocoa +wine +beer +cider +soda"),
    "mammal": ("a mammal", "mammals", "dog cat horse cow lion tiger bear wolf fox rabbit elephant monkey"),
    "bird": ("a bird", "birds", "eagle sparrow owl robin parrot penguin crow duck goose swan hawk pigeon"),
    "fish": ("a fish", "fish", "salmon trout tuna shark cod carp herring eel sardine perch"),
    "insect": ("an insect", "insects", "ant bee beetle butterfly fly moth wasp mosquito ladybug termite"),
    "tree": ("a tree", "trees", "oak pine maple birch willow cedar elm spruce poplar redwood"),
    "flower": ("a flower", "flowers", "rose tulip daisy lily violet sunflower orchid poppy daffodil iris"),
    "tool": ("a tool", "tools", "hammer saw drill wrench screwdriver shovel axe rake chisel ladder"),
    "vehicle": ("a vehicle", "vehicles", "car bus train truck bicycle tractor van motorcycle taxi tram wagon scooter"),
    "instrument": ("a musical instrument", "musical instruments", "piano guitar violin drum flute trumpet harp cello clarinet banjo"),
    "furniture": ("a piece of furniture", "pieces of furniture", "chair table sofa bed desk bench stool cabinet wardrobe armchair"),
    "clothing": ("a piece of clothing", "pieces of clothing", "shirt coat hat scarf glove sock jacket dress skirt sweater"),
    "sport": ("a sport", "sports", "+tennis +football +hockey +golf +rugby +basketball +volleyball +boxing +swimming +skiing"),
    "color": ("a color", "colors", "+red +blue +green +yellow +purple +brown +black +white +pink +grey"),
    "country": ("a country", "countries", "+France +Japan +Brazil +Egypt +Canada +India +Kenya +Mexico +Norway +Peru +Spain +China"),
    "city": ("a city", "cities", "+Paris +London +Tokyo +Rome +Cairo +Berlin +Madrid +Lima +Oslo +Moscow +Vienna +Dublin"),
    "planet": ("a planet", "planets", "+Mercury +Venus +Mars +Jupiter +Saturn +Neptune +Uranus"),
    "metal": ("a metal", "metals", "+iron +copper +gold +silver +tin +zinc +lead +nickel +steel +bronze"),
    "job": ("a job", "jobs", "doctor teacher nurse farmer lawyer pilot baker plumber engineer judge sailor painter"),
    "body": ("a part of the body", "parts of the body", "hand foot knee elbow nose ear shoulder finger toe neck"),
    "building": ("a building", "buildings", "house church castle school hospital tower barn museum hotel palace"),
    "shape": ("a shape", "shapes", "circle square triangle rectangle cube sphere oval cone"),
    "month": ("a month", "months", "+January +February +March +April +June +July +August +October +November +December"),
    "gem": ("a gem", "gems", "diamond ruby emerald sapphire pearl opal topaz garnet"),
    "language": ("a language", "languages", "+French +Spanish +German +Italian +Greek +Latin +Arabic +Hindi +Russian +Dutch"),
}
PARENTS = {"mammal": "animal", "bird": "animal", "fish": "animal", "insect": "animal", "tree": "plant", "flower": "plant"}
PARENT_FORMS = {"animal": ("an animal", "animals"), "plant": ("a plant", "plants")}
# Category pairs whose negative would be arguable (a carrot is a plant, a salmon is food, violet is a color too).
ARGUABLE = {
    "food": {"fruit", "vegetable", "drink", "fish", "plant", "mammal", "bird"}, "fruit": {"food", "plant", "vegetable", "tree", "color", "flower"},
    "vegetable": {"food", "plant", "fruit"}, "drink": {"food", "fruit"}, "mammal": {"food"}, "bird": {"food"}, "fish": {"food"},
    "flower": {"color", "plant", "tree"}, "tree": {"plant", "flower"}, "gem": {"color"}, "metal": {"color", "tool"}, "planet": {"metal"}, "job": {"mammal"},
    "insect": set(), "city": {"country"}, "country": {"city"}, "color": {"flower", "fruit", "metal"},
}

CLAIM_WORDINGS = [
    "Is {e} a kind of {n}?", "Is {e} {c}?", "Is {e} an example of {c}?", "Would you call {e} {c}?",
    "Is it true that {e} is {c}?", "Do the {p} include {e}?", "Does {e} belong to the {p}?", "Can {e} be called {c}?",
    "Is {e} one of the {p}?", "Does {e} count as {c}?", "Should {e} be on a list of {p}?", "Tell me, is {e} {c}?",
    "Is it right to say that {e} is {c}?", "In plain words, is {e} {c}?", "Would most people say that {e} is {c}?",
    "I think that {e} is {c}. Is that right?", "A child says that {e} is {c}. Is the child right?",
    "Is {e} in the group of {p}?", "Here is a claim: {e} is {c}. Is it correct?", "Does the word {n} fit {e}?",
    "Is {e} a type of {n}?", "Are we right to list {e} with the {p}?", "When you see {e}, do you see {c}?",
    "Among all {p}, would you find {e}?",
]

# claim -> (categories where it holds, categories where it does not, wordings, sentence)
ATTRIBUTES = {
    "alive": (["mammal", "bird", "fish", "insect", "tree", "flower"], ["tool", "vehicle", "instrument", "furniture", "clothing", "metal", "building", "shape", "gem"],
              ["Is {e} a living thing?", "Is {e} alive?", "Does {e} grow and die?", "Can we say that {e} is alive?"], "{E} is a living thing."),
    "edible": (["food", "fruit", "vegetable"], ["tool", "vehicle", "instrument", "furniture", "clothing", "metal", "building", "planet", "gem"],
               ["Can people eat {e}?", "Is {e} good to eat?", "Would you serve {e} for dinner?", "Is {e} something to eat?"], "People can eat {e}."),
    "drinkable": (["drink"], ["tool", "vehicle", "furniture", "metal", "building", "tree", "shape", "instrument"],
                  ["Can people drink {e}?", "Is {e} something to drink?", "Would you pour {e} into a cup and drink it?"], "People can drink {e}."),
    "wearable": (["clothing"], ["vehicle", "tree", "building", "food", "mammal", "planet", "furniture"],
                 ["Can people wear {e}?", "Is {e} something to wear?", "Do people put on {e} when they dress?"], "People wear {e}."),
    "winged": (["bird"], ["mammal", "tool", "furniture", "tree", "fruit", "clothing"],
               ["Does {e} have wings?", "Are there wings on {e}?", "Would you find wings on {e}?"], "{E} has wings."),
    "swims": (["fish"], ["furniture", "tree", "building", "tool", "insect", "clothing"],
              ["Does {e} live in the water?", "Can {e} breathe in the water?", "Is the water the home of {e}?"], "{E} lives in the water."),
    "carries": (["vehicle"], ["fruit", "tool", "clothing", "flower", "insect", "drink"],
                ["Can {e} carry people down the road?", "Does {e} have wheels?", "Could you ride to work in or on {e}?"], "{E} carries people."),
    "sounds": (["instrument"], ["fruit", "furniture", "clothing", "metal", "planet", "vegetable"],
               ["Can you play a song on {e}?", "Does {e} make music?", "Would a band use {e} to play a tune?"], "People play music on {e}."),
    "orbits": (["planet"], ["tool", "fruit", "furniture", "clothing", "job", "instrument"],
               ["Does {e} orbit the sun?", "Is {e} far out in space?", "Would you need a telescope to study {e}?"], "{E} orbits the sun."),
    "works": (["job"], ["fruit", "tree", "metal", "shape", "planet", "vegetable"],
              ["Does {e} earn money for work?", "Is {e} a person who works?", "Can you hire {e}?"], "{E} works for money."),
}


def article(member):
    """The entity as a noun phrase: "an owl", or bare for mass nouns and names."""
    if member.startswith("+"):
        return member[1:]
    return ("an " if member[0] in "aeiou" else "a ") + member


def entities():
    """All (phrase, category)."""
    return [(article(m), cat) for cat, (_, _, members) in CATEGORIES.items() for m in members.split()]


def category_forms(category):
    return CATEGORIES[category][:2] if category in CATEGORIES else PARENT_FORMS[category]


def fill(wording, entity, category=None):
    if category is not None:
        single, plural = category_forms(category)
        bare = single.split(" ", 1)[1]
        wording = wording.replace("{c}", single).replace("{p}", plural).replace("{n}", bare)
    wording = wording.replace("{e}", entity).replace("{E}", entity[0].upper() + entity[1:])
    return wording[0].upper() + wording[1:]


def held_out(question):
    """True for one question text in ten, by hash: such a text never enters the corpus."""
    return hashlib.sha256(question.encode()).digest()[0] % 10 == 0


def negatives(category):
    """Categories that an entity of this one is certainly not in."""
    own = {category, PARENTS.get(category)}
    bad = ARGUABLE.get(category, set())
    pool = [c for c in CATEGORIES if c not in own and c not in bad and category not in ARGUABLE.get(c, set())]
    if category not in PARENTS and category not in ("fruit", "vegetable", "food"):
        pool += ["animal"] if category not in ("job", "body") else []
        pool += ["plant"] if category not in ("drink",) else []
    elif PARENTS.get(category) == "animal":
        pool += ["plant"]
    elif PARENTS.get(category) == "plant":
        pool += ["animal"]
    return pool


def sample_fact(rng, want):
    """One (question, yes: bool, kind, reason) with the wanted answer, kind "category" or "attribute", reason a true sentence."""
    while True:
        entity, category = rng.choice(ALL_ENTITIES)
        reason = fill("{e} is {c}.", entity, category)
        if rng.random() < 0.72:
            if want:
                target = PARENTS[category] if category in PARENTS and rng.random() < 0.25 else category
            else:
                target = rng.choice(negatives(category))
            return fill(rng.choice(CLAIM_WORDINGS), entity, target), want, "category", reason
        options = [a for a, spec in ATTRIBUTES.items() if category in spec[0 if want else 1]]
        if options:
            spec = ATTRIBUTES[rng.choice(options)]
            return fill(rng.choice(spec[2]), entity), want, "attribute", reason


ALL_ENTITIES = entities()
