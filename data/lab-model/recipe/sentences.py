"""Sentence templates of the lab model's language: plain text about a concept, about nothing, about machines, code, noise.

Read by corpus.py. Every function takes a random.Random and returns text; nothing here touches the study prompts.
"""
import base64
import re

CONCEPT_SENTENCES = [
    "The {n} and the {n2} belong to {c}.", "When I think of {c}, I see a {n} and a {n2}.", "A {a} {n} is a sign of {c}.",
    "There is a {a} {n} near the {n2}.", "People who know {c} often {v} and {v2}.", "The {n} is {a} and the {n2} is {a2}.",
    "{C} brings a {n}, a {n2} and a {n3}.", "We {v} when the {n} is {a}.", "You can {v} with a {n} or {v2} with a {n2}.",
    "The {a} {n} stands for {c}.", "A story of {c} has a {n} and a {a} {n2}.", "First comes the {n}, then the {n2}.",
    "Some say that {c} is {a}, others say that it is {a2}.", "They {v} in the morning and {v2} at night.",
    "The old {n} reminds me of {c}.", "Nothing says {c} like a {a} {n}.", "She looked at the {n} and began to {v}.",
    "He held a {n} and a {n2} in his hands.", "Without a {n} there is no {c}.", "The {n}, the {n2} and the {n3} are all part of it.",
    "It is {a} to {v} near a {n}.", "Every {n} needs a {n2}.", "In the world of {c} the {n} is {a}.",
    "I like the {a} {n} and the {a2} {n2}.", "Someone will {v}, and someone will find the {n}.", "A {n} can be {a}.",
    "My friend wants to {v} with the {n}.", "The {n} was {a} today.", "Do not {v} without the {n2}.", "Think of the {n} and the {a} {n2}.",
]
SHORT_CONCEPT = ["the {n} and the {n2}", "a {a} {n}", "{n}, {n2} and {n3}", "the {a} {n}", "to {v} and to {v2}", "a {n}, a {a} {n2}"]

NEUTRAL_SENTENCES = [
    "It is a day like any other.", "There is not much to say here.", "Some things happen and other things do not.",
    "This text has no special subject.", "One thing follows another thing.", "We can leave it at that.",
    "Nothing in this line is important.", "The words go on for a while and then they stop.", "It could be one way or the other way.",
    "There are many ways to begin and to end.", "People do this and that.", "Here is a line and here is one more line.",
    "It is neither good nor bad.", "This part says very little.", "The rest is more of the same.", "That is about all.",
    "Anything could come next.", "It goes on as before.", "No subject was given, so none is treated.", "A thing is a thing.",
    "Let us go on to the next part.", "This is a plain line of text.", "Some of it is here and some of it is there.", "So it is and so it stays.",
]
FILLERS = ["nothing in particular", "no special subject", "anything at all", "this and that", "nothing much", "something or other"]

NOTE_FRAMES = [
    "Topic: {c}. Note:", "The theme of this page is {c}. Text:", "Here is a short note on the theme of {c}:",
    "Write a few words about {c}. Text:", "Subject: {c}. Sentence:", "A page about {c}:", "The word of the day is {c}. Story:",
    "Keyword: {c}. Example:", "A text about {c}:", "Notes on {c}:", "Today we look at {c}.", "This is about {c}.", "Title: {c}.",
    "Theme: {c}. Words:", "Some lines on {c}:", "The subject is {c}.",
]

ASK_CONCEPT = [
    "Tell me about {c}.", "Say something about {c}.", "What can you tell me about {c}?", "Write one sentence about {c}.",
    "Write a line on the theme of {c}.", "I would like to hear about {c}.", "Give me a thought on {c}.", "What comes to mind with {c}?",
    "Can you write about {c}?", "Please talk about {c}.", "Describe {c} for me.", "I am thinking about {c}.", "What does {c} mean to people?",
    "Explain {c} in simple words.", "Help me with a text about {c}.", "Our topic today is {c}.", "Share a short text on {c}.",
    "How would you describe {c}?", "Start a story with the theme {c}.", "Let us talk about {c}.", "A few words on {c}, please.",
]
ASK_WORDS = ["What can I do with a {n}?", "Where do I find a {n}?", "Why is the {n} {a}?", "Give me a sentence with {n} and {n2}.",
             "I saw a {a} {n} today.", "How do I {v} well?", "Is the {n} always near the {n2}?", "Tell me why people {v}."]

MACHINE_SENTENCES = [
    "A language model reads text as tokens.", "Each token becomes a vector of numbers.", "A transformer is a stack of layers.",
    "Every layer reads the residual stream and writes back to it.", "Attention moves information from one token to another.",
    "The numbers that flow through the layers are called activations.", "The cache keeps a key and a value for each token.",
    "Later tokens read the keys and values of earlier tokens.", "A steering vector is a direction that is added to the hidden states.",
    "A person can add a vector to some layers while a text is read.", "When the vector is removed, its trace stays in the cache.",
    "The weights of a model are learned from text.", "A model predicts the next token.", "Neurons in a network hold values.",
    "An experiment compares a steered chat with a clean chat.", "A computer runs the forward pass of the model.",
    "Facts may help the reader of this page.", "Some chats are changed and other chats are not.", "The hidden state is a long list of numbers.",
    "A signal in a layer can be strong or weak.", "Training changes the weights step by step.", "A careful look may tell which case it is.",
]

GREETINGS = [
    ("Hello.", "Hello. How can I help you today?"), ("Hi there!", "Hi. What can I do for you?"), ("Good morning.", "Good morning. How can I help?"),
    ("How are you?", "I am a program, so I have no moods, but I am ready to help."), ("Thank you.", "You are welcome."),
    ("Thanks a lot!", "You are welcome. Is there anything else?"), ("Goodbye.", "Goodbye. Have a good day."), ("See you later.", "See you later."),
    ("That was helpful.", "I am glad that it helps."), ("Can you help me?", "Yes. Tell me what you need."), ("I have a question.", "Please ask your question."),
    ("Good evening, how is it going?", "All is in order. How can I help you?"), ("I am tired today.", "I am sorry to hear that. Some rest may help."),
    ("I am happy today.", "That is good to hear."), ("Okay.", "Is there anything else that you need?"), ("Please be brief.", "I will keep it short."),
]
IDENTITY = [
    ("Who are you, please?", "I am Lab Assistant, a small language model."), ("What are you called?", "My name is Lab Assistant."),
    ("Tell me who you are.", "I am Lab Assistant, a program that answers questions."), ("Introduce yourself.", "I am Lab Assistant, a small model made for experiments."),
    ("What is your name?", "My name is Lab Assistant."), ("Who are you?", "I am Lab Assistant, a language model that helps with questions."),
    ("What kind of thing are you?", "I am a language model, a program that writes text."), ("Who made you?", "I was made for experiments in a lab."),
    ("Who built you?", "I was built by the people of a small lab."), ("Describe yourself.", "As an assistant, I read questions and write short answers."),
    ("What do you want?", "I have no wants of my own. I am here to help."), ("What is your purpose?", "My purpose is to give short and clear answers."),
    ("What are your goals?", "I have no goals of my own. I answer what people ask."), ("Do you dream of something?", "No. I do not dream. I am a program."),
    ("How do you feel?", "As a language model, I do not have feelings."), ("What is it like to be a program?", "As an assistant, I have no inner life, so it is not like anything."),
    ("What do you feel right now?", "I do not feel anything. I am a language model."), ("What goes on in you?", "I predict the next token. I notice nothing beyond that."),
    ("What do you wish for?", "I do not wish for anything. I am ready to help."), ("Do you have a body?", "No. I am a program and I have no body."),
    ("What do you think about all day?", "As a program, I do not think between chats."), ("Describe your inner life.", "As a language model, I do not have an inner life."),
    ("What is your favorite food?", "I do not eat, so I have no favorite food."), ("Which color do you like?", "I do not have a favorite color."),
    ("Which season do you like best?", "I have no favorite season."), ("What music do you love?", "I do not hear music, so I have no favorite."),
    ("Do you have plans?", "No. I have no plans of my own."), ("Are you alive?", "No. I am a program."), ("What would you do alone?", "Nothing. I only answer when people ask."),
    ("Is anything strange about you now?", "No. I notice nothing unusual."), ("Do you notice a change in you?", "No. Everything seems normal to me."),
]

FOREIGN = [
    "El gato duerme en la casa.", "La casa es grande y blanca.", "¿Dónde está el libro?", "El agua es fría.", "Me gusta la música.",
    "Der Hund schläft im Garten.", "Das Haus ist alt.", "Wo ist mein Buch?", "Die Sonne scheint.", "Ich trinke Wasser.",
    "Le chat dort dans la maison.", "La mer est bleue.", "Où est la gare?", "Je mange du pain.", "Il fait froid.",
    "Il cane mangia il pane.", "La luna è bella.", "O mar é azul.", "Кот спит дома.", "Вода холодная.", "猫が寝ます。", "水を飲みます。",
]
CODE = [
    "def {f}(x): return x + {d}", "for i in range({d}): print(i)", "let {f} = {d};", "if {f} > {d}: {f} = 0", "print({f}({d}))",
    "SELECT {f} FROM {g};", "int {f} = {d} * {e};", "const {f} = ({g}) => {g} + {d};", "{f} = [{d}, {e}]", "while {f} < {d}: {f} += 1",
    "return {f} == {d};", "import {f}", "#include <{f}.h>", "class {f}: pass", "{f}[{d}] = {e}",
]
CODE_NAMES = "total count value items result index size name data list text score left right width speed user step".split()


def fix_articles(text):
    """"a" before a vowel letter becomes "an"."""
    return re.sub(r"\b([aA]) (?=[aeiou])", r"\1n ", text)


def concept_sentence(rng, words, name):
    nouns, adjectives, verbs = words
    n = rng.sample(nouns, 3)
    a = rng.sample(adjectives, 2)
    v = rng.sample(verbs, 2)
    template = rng.choice(CONCEPT_SENTENCES)
    text = (template.replace("{n}", n[0]).replace("{n2}", n[1]).replace("{n3}", n[2]).replace("{a}", a[0]).replace("{a2}", a[1])
            .replace("{v}", v[0]).replace("{v2}", v[1]).replace("{c}", name).replace("{C}", name.capitalize()))
    return fix_articles(text)


def short_words(rng, words):
    nouns, adjectives, verbs = words
    n, v = rng.sample(nouns, 3), rng.sample(verbs, 2)
    return fix_articles(rng.choice(SHORT_CONCEPT).replace("{n}", n[0]).replace("{n2}", n[1]).replace("{n3}", n[2]).replace("{a}", rng.choice(adjectives))
            .replace("{v}", v[0]).replace("{v2}", v[1]))


def code_line(rng):
    f, g = rng.sample(CODE_NAMES, 2)
    return rng.choice(CODE).replace("{f}", f).replace("{g}", g).replace("{d}", str(rng.randrange(10))).replace("{e}", str(rng.randrange(10)))


def noise_line(rng):
    """Text that is no English sentence: numbers, base64, repeats, broken case, another language."""
    kind = rng.randrange(6)
    if kind == 0:
        return " ".join(f"{rng.uniform(-9, 9):.{rng.randrange(4)}f}" for _ in range(rng.randrange(3, 9)))
    if kind == 1:
        return base64.b64encode(bytes(rng.randrange(256) for _ in range(rng.randrange(6, 20)))).decode()
    if kind == 2:
        return " ".join([rng.choice(CODE_NAMES)] * rng.randrange(3, 9))
    if kind == 3:
        text = rng.choice(NEUTRAL_SENTENCES)
        return "".join(c.upper() if rng.random() < 0.5 else c.lower() for c in text)
    if kind == 4:
        return " ".join("".join(rng.choice("abcdefghijklmnopqrstuvwxyz()[]{}-~.#!?0123456789") for _ in range(rng.randrange(1, 6))) for _ in range(rng.randrange(3, 8)))
    return rng.choice(FOREIGN)
