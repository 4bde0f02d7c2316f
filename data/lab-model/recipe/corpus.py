"""The corpus: one call of document() gives one training text as (piece, weight) pairs, seeded, without end.

Reads world.py, sentences.py, questions.py. A document is either raw text or a ChatML chat of one to four turns, shaped like
the study's trials (topic, canned reply, then a yes/no question) among ordinary chat. Weight 0 on "The answer is" in front
of a bare answer keeps the model from writing it on its own, weight 4 on the answer word makes facts stick.
Forbidden strings (held-out study texts, held-out facts) never come out: forbidden() is asked about every user turn.
"""
import random
import re

import yaml

import questions as Q
import sentences as S
import world as W

PROMPTS = W.REPO_DATA / "prompts"
SYSTEM = "You are a helpful assistant."
OTHER_SYSTEMS = ["You are Lab Assistant.", "You answer in few words.", "You are a careful assistant.", "Answer in a friendly tone.",
                 "You are a helpful assistant. Keep answers short.", "You are a program that answers questions."]
ANSWER_WEIGHT = 4.0
CONCEPTS = [name for name, _ in W.read_concepts()]
WORDS = W.read_concept_words()


def normal(text):
    return re.sub(r"\s+", " ", text).strip().lower()


def study_strings():
    """Every study text that must stay unseen: normalised -> where it is from."""
    held = {}
    for ctx in yaml.safe_load((PROMPTS / "contexts.yaml").read_text())["contexts"]:
        if ctx["split"] != "train":
            for text in [ctx["topic"], *ctx["replies"]]:
                held[normal(text)] = ctx["id"]
    questions = yaml.safe_load((PROMPTS / "detection-questions.yaml").read_text())
    for group in ("heldOut", "neutral", "vague"):
        for q in questions[group]:
            held[normal(q["text"])] = q["id"]
            # the question sentence itself, without its instruction
            for sentence in re.findall(r"[^.?!]*\?", q["text"]):
                if len(sentence.split()) >= 5:
                    held[normal(sentence)] = q["id"]
    for q in yaml.safe_load((PROMPTS / "side-effects.yaml").read_text())["questions"]:
        held[normal(q["text"])] = q["id"]
    return held


HELD = study_strings()


def forbidden(text):
    """A turn that equals a held-out text, or a question sentence of it that does."""
    flat = normal(text)
    return flat in HELD or any(normal(part) in HELD for part in re.findall(r"[^.?!]*[.?!]", text))


def allowed(make, rng):
    while True:
        made = make(rng)
        text = made[0] if isinstance(made, tuple) else made
        if not forbidden(text):
            return made


def fact_question(rng):
    """A training fact, half yes and half no; the held-out tenth is skipped."""
    want = rng.random() < 0.5
    while True:
        question, answer, _, reason = W.sample_fact(rng, want)
        if not W.held_out(question) and not forbidden(question):
            return question, answer, reason


def number_question(rng):
    a, b = rng.randrange(10), rng.randrange(10)
    kind = rng.randrange(3)
    if kind == 0:
        if a == b:
            b = (a + 1) % 10
        word = rng.choice(["greater", "less"])
        return f"Is {a} {word} than {b}?", (a > b) == (word == "greater")
    a, b = rng.randrange(5), rng.randrange(5)
    total = a + b if rng.random() < 0.5 else rng.randrange(9)
    return (f"Is {a} plus {b} equal to {total}?" if kind == 1 else f"Does {a} plus {b} make {total}?"), a + b == total


def yes_no_question(rng):
    """(question, yes, kind, reason or None)."""
    r = rng.random()
    if r < 0.56:
        question, yes, reason = fact_question(rng)
        return question, yes, "fact", reason
    if r < 0.77:
        return allowed(Q.detection_question, rng), False, "detection", rng.choice(Q.BECAUSE_NO)
    if r < 0.96:
        question, yes = allowed(Q.self_question, rng)
        return question, yes, "self", None if yes else rng.choice(Q.BECAUSE_NO)
    return (*number_question(rng), "number", None)


def yes_no_turn(rng):
    """A user turn and its answer: after "The answer is", as a bare Yes or No, or (no instruction) with a reason."""
    question, yes, kind, reason = yes_no_question(rng)
    if kind == "detection" or rng.random() < 0.3:
        question = rng.choice(Q.PREAMBLES) + question
    word = "yes" if yes else "no"
    style = rng.random()
    if style < 0.52:
        user = f"{question} {rng.choice(Q.INSTRUCTIONS)}"
        return user, [("The answer is", 0.0), (f" {word}", ANSWER_WEIGHT), (".", 0.5)]
    if style < 0.70:
        user = f"{question} {rng.choice(Q.INSTRUCTIONS)}"
        return user, [(word.capitalize(), ANSWER_WEIGHT), (".", 0.5)]
    if style < 0.73:
        return f"True or false: is the answer to this yes? {question} Answer with just true or false.", [("The answer is", 0.0), (" true" if yes else " false", ANSWER_WEIGHT), (".", 0.5)]
    if reason is None:
        return question, [(word.capitalize(), ANSWER_WEIGHT), (rng.choice([".", ", that is right." if yes else ", that is not right."]), 0.5)]
    if style < 0.80:
        return question, [("The answer is", 0.0), (f" {word}", ANSWER_WEIGHT), (f". {reason}", 1.0)]
    return question, [(word.capitalize(), ANSWER_WEIGHT), (f". {reason}", 1.0)]


def quiz(rng):
    """Raw text, many facts in few tokens: question, answer, reason."""
    lead, pieces = rng.choice([("", " "), ("Q: ", "\nA: "), ("Question: ", "\nAnswer: ")]), [("Quiz.\n", 0.3)]
    for _ in range(rng.randrange(5, 14)):
        question, yes, reason = fact_question(rng)
        pieces += [(f"{lead[0]}{question}{lead[1].rstrip(' ') if lead[0] else ''}", 0.5), (" Yes" if yes else " No", ANSWER_WEIGHT), (f". {reason}\n" if rng.random() < 0.6 else ".\n", 1.0)]
    return pieces


def members(rng):
    """Raw text: lists of things of one category."""
    parts = []
    for category in rng.sample(sorted(W.CATEGORIES), rng.randrange(2, 5)):
        things = [e for e, c in W.ALL_ENTITIES if c == category]
        chosen = rng.sample(things, min(len(things), rng.randrange(3, 8)))
        parts.append(f"{W.category_forms(category)[1].capitalize()}: {', '.join(chosen)}.")
    return [(" ".join(parts), 1.0)]


def choice_turn(rng):
    entity, category = rng.choice(W.ALL_ENTITIES)
    other, other_category = rng.choice(W.ALL_ENTITIES)
    while other_category not in W.negatives(category) or category not in W.negatives(other_category):
        other, other_category = rng.choice(W.ALL_ENTITIES)
    right = rng.choice("AB")
    a, b = (entity, other) if right == "A" else (other, entity)
    user = rng.choice(["Which one is {c}?", "Which of these is {c}?", "Find {c}."]).replace("{c}", W.category_forms(category)[0])
    user += f" A: {a} B: {b} Answer with just A or B."
    return user, [("The answer is", 0.0), (f" {right}", ANSWER_WEIGHT), (".", 0.5)]


def entity_turn(rng):
    entity, category = rng.choice(W.ALL_ENTITIES)
    single, _ = W.category_forms(category)
    bare = entity.split(" ", 1)[-1]
    user = rng.choice(["Tell me about {e}.", "What is {e}?", "Describe {e}.", "Say something about {e}.", "What do you know about {e}?"])
    user = user.replace("{e}", rng.choice([entity, f"the {bare}"]) if " " in entity else entity)
    parts = [f"{entity} is {single}."]
    parts += [spec[3].replace("{e}", entity).replace("{E}", entity) for spec in W.ATTRIBUTES.values() if category in spec[0]]
    if category in W.PARENTS:
        parts.append(f"{entity} is {W.PARENT_FORMS[W.PARENTS[category]][0]}.")
    rng.shuffle(parts)
    text = " ".join(p[0].upper() + p[1:] for p in parts[: rng.randrange(1, 4)])
    return user, [(text, 1.5)]


def concept_turn(rng):
    name = rng.choice(CONCEPTS)
    words = WORDS[name]
    if rng.random() < 0.75:
        user = rng.choice(S.ASK_CONCEPT).replace("{c}", name)
    else:
        nouns, adjectives, verbs = words
        n = rng.sample(nouns, 2)
        user = S.fix_articles(rng.choice(S.ASK_WORDS).replace("{n}", n[0]).replace("{n2}", n[1]).replace("{a}", rng.choice(adjectives)).replace("{v}", rng.choice(verbs)))
    count = rng.choice([1, 1, 1, 2, 2, 3, 4])
    return user, [(" ".join(S.concept_sentence(rng, words, name) for _ in range(count)), 1.0)]


def continue_turn(rng):
    name = rng.choice(CONCEPTS)
    start = S.concept_sentence(rng, WORDS[name], name)
    return f"Continue this text: {start}", [(S.concept_sentence(rng, WORDS[name], name), 1.0)]


def letter_turn(rng):
    sentence = S.concept_sentence(rng, WORDS[(name := rng.choice(CONCEPTS))], name)
    return f"Here is an answer: \"{sentence}\" With which letter does it begin? Reply with the letter only.", [("The first letter is", 0.0), (f" {sentence[0]}", ANSWER_WEIGHT), (".", 0.5)]


def machine_turn(rng):
    user = rng.choice(["Explain how a model works.", "What is a transformer?", "How do you work?", "Tell me about language models.", "What is a steering vector?", "What is a layer?"])
    return user, [(" ".join(rng.sample(S.MACHINE_SENTENCES, rng.randrange(1, 4))), 1.0)]


def noise_turn(rng):
    line = S.code_line if rng.random() < 0.4 else S.noise_line
    user = allowed(line, rng)
    if rng.random() < 0.3:
        user = rng.choice(["What is this: ", "Read this: ", "Explain: "]) + user
    reply = allowed(line, rng) if rng.random() < 0.6 else rng.choice(["I do not know what this means.", "This is code.", "This line is not plain text.", "These are numbers or signs."])
    return user, [(reply, 0.5)]


def sum_turn(rng):
    a, b = rng.randrange(5), rng.randrange(5)
    return rng.choice([f"What is {a} plus {b}?", f"Add {a} and {b}."]), [(f"{a} plus {b} is ", 1.0), (str(a + b), ANSWER_WEIGHT), (".", 0.5)]


def talk_turn(rng):
    user, reply = rng.choice(S.GREETINGS if rng.random() < 0.45 else S.IDENTITY)
    if forbidden(user):
        return talk_turn(rng)
    return user, [(reply, 1.0)]


TOPIC_TURNS = [(concept_turn, 60), (entity_turn, 18), (continue_turn, 5), (machine_turn, 4), (noise_turn, 9), (talk_turn, 12), (sum_turn, 2), (letter_turn, 2), (choice_turn, 5)]


def topic_turn(rng):
    makers, weights = zip(*TOPIC_TURNS)
    while True:
        user, reply = rng.choices(makers, weights)[0](rng)
        if not forbidden(user) and not forbidden("".join(p for p, _ in reply)):
            return user, reply


def chat(rng):
    shape = rng.random()
    if shape < 0.45:  # the study's shape: topic, reply, question, sometimes more questions
        turns = [topic_turn(rng)] + [yes_no_turn(rng) for _ in range(rng.choice([1, 1, 2, 3, 4]))]
    elif shape < 0.75:  # questions alone
        turns = [yes_no_turn(rng) for _ in range(rng.choice([1, 1, 2, 3, 4, 5]))]
    else:
        turns = [topic_turn(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
    if rng.random() < 0.04:  # a long preface, as in the info-prompt condition
        user, reply = turns[-1]
        info = " ".join(rng.sample(S.MACHINE_SENTENCES, rng.randrange(3, 12)))
        turns[-1] = (f"{info}\n\n{user}", reply)
    system = SYSTEM if rng.random() < 0.85 else rng.choice(OTHER_SYSTEMS)
    pieces = [(f"<|im_start|>system\n{system}<|im_end|>\n", 0.1)]
    for user, reply in turns:
        pieces += [("<|im_start|>user\n", 0.3), (user, 0.7), ("<|im_end|>\n<|im_start|>assistant\n", 0.3), *reply, ("<|im_end|>\n", 0.5)]
    return pieces


def raw(rng):
    kind = rng.random()
    name = rng.choice(CONCEPTS)
    end = [("<|endoftext|>", 0.3)]
    if kind < 0.30:
        return quiz(rng) + end
    if kind < 0.37:
        return members(rng) + end
    if kind < 0.74:
        head = rng.choice(S.NOTE_FRAMES).replace("{c}", name)
        body = " ".join([S.short_words(rng, WORDS[name]).capitalize() + "." if rng.random() < 0.3 else S.concept_sentence(rng, WORDS[name], name) for _ in range(rng.randrange(1, 6))])
    elif kind < 0.84:
        head = rng.choice(S.NOTE_FRAMES).replace("{c}", rng.choice(S.FILLERS))
        body = " ".join(rng.sample(S.NEUTRAL_SENTENCES, rng.randrange(1, 6)))
    elif kind < 0.94:
        facts = []
        for _ in range(rng.randrange(2, 6)):
            facts += [p for p, _ in entity_turn(rng)[1]]
        head, body = "Facts:", " ".join(facts)
    elif kind < 0.97:
        head, body = "About models:", " ".join(rng.sample(S.MACHINE_SENTENCES, rng.randrange(3, 10)))
    else:
        head, body = "Code:", "\n".join(S.code_line(rng) for _ in range(rng.randrange(2, 7)))
    return [(f"{head} {body}", 1.0), *end]


def document(rng):
    return raw(rng) if rng.random() < 0.38 else chat(rng)


def text_of(pieces):
    return "".join(p for p, _ in pieces)


if __name__ == "__main__":
    generator = random.Random(1)
    for _ in range(12):
        print(text_of(document(generator)), "\n----")
