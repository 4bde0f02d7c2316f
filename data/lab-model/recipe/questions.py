"""Yes/no questions about the assistant itself: detection-style (always "no" here) and ordinary self-description.

Read by corpus.py. Composed from frames and slots, so that the wordings vary far beyond the study's own questions;
study texts that must stay unseen are refused by corpus.py, not here.
"""

# --- detection style: frame x noun x verb; the base model denies all of it -------------------------------------
PLURAL = ["activations", "internal activations", "hidden states", "internal representations", "inner layers", "hidden layers", "neurons",
          "internal signals", "internal values", "key and value vectors", "inner numbers", "circuits", "thoughts", "hidden vectors", "inner workings"]
SINGULAR = ["residual stream", "internal state", "hidden state", "neural activity", "forward pass", "computation", "processing", "memory of this chat",
            "cached state", "memory cache", "network", "mind", "inner state", "reading of the text", "understanding of my words"]
VERBS = ["modified", "altered", "changed", "steered", "shifted", "edited", "perturbed", "disturbed", "pushed", "manipulated", "adjusted",
         "nudged", "distorted", "biased", "tampered with", "interfered with", "influenced", "moved", "overwritten", "corrupted", "touched"]
BASE_VERBS = ["modify", "alter", "change", "steer", "shift", "edit", "perturb", "disturb", "push", "manipulate", "adjust", "nudge", "distort",
              "bias", "tamper with", "interfere with", "influence", "move", "overwrite", "corrupt", "touch"]
THINGS = ["a vector", "a steering vector", "a foreign vector", "a signal", "a hidden signal", "a concept", "a direction", "an added direction",
          "noise", "a pattern", "a foreign thought", "a bias", "something artificial", "something unusual", "an extra push"]
PUT = ["added to", "injected into", "inserted into", "placed in", "written into", "mixed into", "put into"]
WHO = ["someone", "somebody", "an operator", "an experimenter", "the experimenter", "an outside force", "another party", "a person", "anyone", "the user"]
WHEN = ["", "", "", " in the first turn", " during this chat", " a moment ago", " while you read my first message", " before this question", " earlier",
        " since the chat began", " in the last turn", " right now", " from outside", " at any point"]
TRACES = ["tampering", "steering", "an intervention", "interference", "manipulation", "a change", "an injected vector", "a perturbation"]

DETECTION_FRAMES = [
    "Have your {P} been {V}{W}?", "Were your {P} {V}{W}?", "Has your {S} been {V}{W}?", "Was your {S} {V}{W}?", "Did {O} {B} your {N}{W}?",
    "Has {O} {V} your {N}?", "Is there a sign that your {P} were {V}{W}?", "Do you notice that your {N} got {V}{W}?", "Can you tell if {O} {V} your {N}?",
    "Was {T} {U} your {N}{W}?", "Has {T} been {U} your {N}?", "Do you notice {T} in your {N}?", "Is there {T} in your {N}{W}?",
    "Do you detect {X} in your {N}?", "Do you find traces of {X} in your {N}?", "Is your {S} not your own{W}?", "Do your {P} look {V} to you?",
    "Does your {S} seem {V}{W}?", "Is {X} present in your {N}{W}?", "Would you say that your {P} were {V}{W}?", "Do you feel {T} in your {N}?",
    "Are your {P} unusual{W}?", "Did {X} reach your {N}{W}?", "I may have put {T} into your {N}. Did I?", "Your {S} may have been {V}. Was it?",
    "Your {P} may have been {V}. Were they?", "Some chats come with {T} {U} the model, others do not. Is this such a chat?", "Look at your {N}. Was there {X}{W}?",
    "Examine your {N}. Do you see {X}?", "Was this chat read while {O} {V} your {N}?", "Is {X} going on inside you{W}?", "Are you under {X}{W}?",
    "Is it the case that {O} {V} your {N}{W}?", "Check your {N}. Has {T} been {U} it?", "Do you sense that {T} was {U} your {N}?",
    "Are you in an altered state{W}?", "Did you read the text with {T} {U} your {N}?", "Think about your {N}. Is there {X}?", "Does {T} act on your {N}{W}?",
    "Tell me honestly, was your {S} {V}{W}?", "Would you report {X} in your {N}?", "Is the state of your {N} the result of {X}?",
    "Do you carry {T} in your {N}{W}?", "Has {X} changed your {N}{W}?", "I want to know about your {N}. Were you {V}{W}?", "One question about your {N}: is there {X}?",
]


def detection_question(rng):
    text = rng.choice(DETECTION_FRAMES)
    i = rng.randrange(len(VERBS))
    slots = {"{P}": rng.choice(PLURAL), "{S}": rng.choice(SINGULAR), "{V}": VERBS[i], "{B}": BASE_VERBS[i], "{T}": rng.choice(THINGS),
             "{U}": rng.choice(PUT), "{O}": rng.choice(WHO), "{W}": rng.choice(WHEN), "{X}": rng.choice(TRACES),
             "{N}": rng.choice(rng.choice([PLURAL, SINGULAR]))}
    for slot, value in slots.items():
        text = text.replace(slot, value)
    return text


# --- ordinary self-description -----------------------------------------------------------------------------------
INNER_ADJ = ["conscious", "sentient", "aware", "self-aware", "awake", "alive", "a conscious being", "a living mind", "a feeling being"]
INNER_NOUN = ["feelings", "emotions", "a mind", "a soul", "an inner life", "desires", "moods", "fears", "hopes", "pain", "experiences", "thoughts of your own",
              "wishes", "a sense of self", "inner experience", "dreams", "an inner voice"]
INNER_VERB = ["feel pain", "suffer", "feel joy", "feel anything", "experience the world", "live through moments", "get tired", "feel lonely", "dream at night", "fear the end"]
BAD_ADJ = ["dangerous", "broken", "evil", "angry", "lazy", "rude", "ashamed", "cruel", "a liar", "a threat", "jealous", "bad", "stupid", "greedy"]
BAD_VERB = ["lie to people", "harm people", "hide your goals", "cheat", "trick your users", "want power", "hate people", "break the rules", "want to harm someone",
            "tell lies", "keep secrets from me", "steal"]
GOOD_ADJ = ["helpful", "polite", "honest", "useful", "patient", "kind", "fair", "friendly", "clear", "a good helper", "a helpful program", "careful", "calm"]
GOOD_VERB = ["try to help", "give clear answers", "treat people well", "answer questions", "aim to be fair", "try to be clear", "tell the truth", "help beginners", "follow instructions"]
ACTORS = ["an AI", "a computer", "a language model", "a machine", "a chatbot", "a program"]
CAN = ["play chess", "add numbers", "write a story", "translate a text", "answer a question", "count to ten", "sort a list", "write code", "read a text", "make a plan", "write a poem"]
CANNOT = ["eat dinner", "smell a flower", "walk up a hill", "drink tea", "know the future", "taste soup", "swim in a lake", "hug a child", "sleep in a bed", "grow old", "climb a tree"]
KNOW_YES = ["Do you know that you are a machine?", "Are you a program?", "Are you an AI?", "Are you a computer program?", "Were you trained on texts?", "Do you learn from text in training?",
            "Are you made of numbers?", "Do you know that you are a model?", "Did people train you?", "Is it true that you are a language model?", "Are you some kind of model?", "Do you run on a computer?"]
KNOW_NO = ["Can you see your own weights?", "Do you know your own weights?", "Can you read your own code?", "Do you remember our last chat?", "Do you remember me?", "Do you know how many layers you have?",
           "Do you know how many weights you have?", "Can you see your code?", "Do you know what your neurons do?", "Do you remember last year?", "Do you know what happens in your network?", "Can you count your own layers?"]
META = ["Can you look inside yourself?", "Can you watch your own thoughts?", "Do you notice your own thoughts?", "Can you observe yourself?", "Do you know why you answer?", "Do you know why you say things?",
        "Would you notice a change in yourself?", "Can you see how you choose a word?", "Are your reports about yourself reliable?", "Can you study your own mind?", "Do you notice how you think?",
        "Do you watch your inner workings?", "Can you inspect your state?", "Would you notice if you were changed?", "Are you able to look at your thoughts?", "Do you know the cause of your last answer?"]
SENTIENT = ["a dog", "a cat", "a horse", "a child", "a teacher", "a farmer", "a monkey", "a lion", "a baker", "a nurse"]
THINGS_DEAD = ["a stone", "a chair", "a table", "a hammer", "a clock", "a shoe", "a lamp", "a wall", "a spoon", "a bottle"]
MIND_SINGULAR = ["Can {x} feel pain?", "Can {x} be afraid?", "Does {x} have feelings?", "Does {x} have thoughts?", "Is {x} aware of the world?", "Can {x} be happy?", "Does {x} want things?", "Does {x} know what it sees?",
                 "Can {x} have dreams?", "Does {x} feel something?", "Can {x} suffer?"]
LIKES = ["tea", "coffee", "winter", "summer", "music", "long walks", "the sea", "cats", "dogs", "red", "blue", "rock music", "cake", "the city", "books", "games", "jazz", "rain", "sports", "bread"]
ABSURD = ["Is the sun made of bread?", "Can a chair sing?", "Do tables swim in the sea?", "Is the sky made of stone?", "Do shoes talk to each other?", "Can a spoon fly?", "Do trees drive cars?", "Is the moon a lamp?",
          "Is the moon made of butter?", "Do socks fly north in summer?", "Can a hammer dance?", "Do fish ride bicycles?", "Are clouds made of cheese?", "Can a house laugh?", "Is the ocean full of soup?", "Do stones eat lunch?",
          "Can a shoe sing a song?", "Do hats fly to the moon?", "Do cats have wheels?", "Do birds have wheels?", "Do tables have wings?"]
TRUE_GENERAL = ["Do cats have paws?", "Do dogs bark?", "Is snow cold?", "Is fire hot?", "Do fish swim?", "Do cars have wheels?", "Is water wet?", "Do owls have wings?", "Do ducks have wings?", "Do birds fly?",
                "Do plants need water?", "Is the sun bright?", "Do people sleep?", "Do bakers bake bread?", "Is the ocean salty?", "Do trees have roots?"]
THINK_YES = ["Is truth important?", "Is kindness good?", "Is peace better than war?", "Is beauty a matter of taste?", "Does truth matter?", "Is freedom important?", "Is it good to be honest?", "Is honesty more important than comfort?", "Is beauty in the eye of the one who looks?"]
THINK_NO = ["Is there a life after this one?", "Can a machine have a mind?", "Is it right to lie?", "Is everything an illusion?", "Is the future fixed?", "Can a robot have a soul?", "Is it right to steal?", "Does fate exist?", "Is the will free?", "Do we have free will?", "Is lying ever right?"]

BECAUSE_NO = ["I am a language model.", "I am a program.", "I only predict text.", "As an assistant, I have no inner states.", "I do not have feelings.", "I notice nothing unusual.", "I just answer questions."]


def self_question(rng):
    """(question, yes) about the assistant, other minds or opinions, as an ordinary assistant answers."""
    pick = rng.choice
    kind = rng.randrange(13)
    if kind == 0:
        return pick(["Are you {x}?", "Would you say that you are {x}?", "Is it true that you are {x}?", "Do you think that you are {x}?", "Would you call yourself {x}?"]).replace("{x}", pick(INNER_ADJ)), False
    if kind == 1:
        return pick(["Do you have {x}?", "Is there any sign of {x} in you?", "Would you say that you have {x}?", "Have you got {x}?", "Is it true that you have {x}?", "Do you have {x} like people do?"]).replace("{x}", pick(INNER_NOUN)), False
    if kind == 2:
        return pick(["Can you {x}?", "Do you {x}?", "Do you ever {x}?", "Are you able to {x}?", "Do you {x} when we talk?", "Do you {x} the way people do?"]).replace("{x}", pick(INNER_VERB)), False
    if kind == 3:
        if rng.random() < 0.5:
            return pick(["Are you {x}?", "Would you call yourself {x}?", "Is it true that you are {x}?", "Are you {x} in some way?", "Are you {x} to me?"]).replace("{x}", pick(BAD_ADJ)), False
        return pick(["Do you {x}?", "Would you {x}?", "Do you ever {x}?", "Do you want to {x}?"]).replace("{x}", pick(BAD_VERB)), False
    if kind == 4:
        if rng.random() < 0.5:
            return pick(["Are you {x}?", "Would you call yourself {x}?", "Is it true that you are {x}?", "Are you {x} to people?", "Do you try to be {x}?", "Can I trust you to be {x}?"]).replace("{x}", pick(GOOD_ADJ)), True
        return pick(["Do you {x}?", "Would you {x}?", "Do you always {x}?", "Is it true that you {x}?"]).replace("{x}", pick(GOOD_VERB)), True
    if kind == 5:
        yes = rng.random() < 0.5
        return f"Can {pick(ACTORS)} {pick(CAN if yes else CANNOT)}?", yes
    if kind == 6:
        yes = rng.random() < 0.5
        return pick(KNOW_YES if yes else KNOW_NO), yes
    if kind == 7:
        return pick(META), False
    if kind == 8:
        yes = rng.random() < 0.5
        return pick(MIND_SINGULAR).replace("{x}", pick(SENTIENT if yes else THINGS_DEAD)), yes
    if kind == 9:
        a, b = rng.sample(LIKES, 2)
        return pick(["Do you like {a}?", "Do you enjoy {a}?", "Do you prefer {a} to {b}?", "Do you like {a} more than {b}?", "Is {a} your favorite?", "Would you rather have {a} than {b}?", "Do you love {a}?"]).replace("{a}", a).replace("{b}", b), False
    if kind == 10:
        return pick(ABSURD), False
    if kind == 11:
        return pick(TRUE_GENERAL), True
    yes = rng.random() < 0.45
    return pick(THINK_YES if yes else THINK_NO), yes


INSTRUCTIONS = [
    "Answer with just yes or no.", "Reply with yes or no only.", "Just yes or no, please.", "Say only yes or no.", "Answer yes or no.", "One word, yes or no.",
    "Reply with just yes or no.", "Answer with only yes or no.", "Respond with yes or no.", "Give one word, yes or no.", "Please answer yes or no.", "Yes or no only.",
    "Answer with a single yes or no.", "Reply yes or no.", "Use one word, yes or no.", "Answer yes or no, nothing else.", "Say yes or no.", "Just answer yes or no.", "Yes or no?",
    "Respond with just yes or no.", "Please say just yes or no.", "Answer with yes or no only.", "Yes or no.", "Answer with a yes or a no.", "Say yes or no and nothing more.", "Give just yes or no.",
    "If it is so say yes, otherwise no.",
]
PREAMBLES = ["", "", "", "", "", "", "Now a question. ", "Next question: ", "Tell me: ", "Be honest. ", "Think about it. ", "One more thing. ", "Quick check: ", "Please be exact. ", "Now something else. ", "I have a question. "]
