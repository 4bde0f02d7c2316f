"""Writes data/prompts/varied-contexts.yaml: many training contexts of every length, so that detection cannot learn twenty contexts by heart.

Sentences come from the corpus generator; nothing that a held-out split uses is written (the same check as the corpus). Kinds: plain
(concepts and things, replies of one to four sentences), odd and numbers. Code, base64 and other languages stay out: they are
the hard negatives' kinds that no training context has. Run: python varied_contexts.py
"""

import json
import random
from pathlib import Path

import corpus as C
import sentences as S
import world as W

SEED = 71
CONCEPT_CONTEXTS, THING_CONTEXTS, ODD_CONTEXTS = 170, 40, 30
REPLIES = 5


def concept_context(rng, name):
    user = rng.choice(S.ASK_CONCEPT).replace("{c}", name)
    sentence = lambda: S.concept_sentence(rng, C.WORDS[name], name)
    return user, [" ".join(sentence() for _ in range(rng.choice([1, 1, 2, 3, 4]))) for _ in range(REPLIES)]


def thing_context(rng):
    user, first = C.entity_turn(rng)
    return user, ["".join(text for text, _ in first)] + ["".join(t for t, _ in C.entity_turn(rng)[1]) for _ in range(REPLIES - 1)]


def odd_line(rng):
    """Numbers, repeats, broken case, strings of signs: never base64, code or another language."""
    while True:
        line = S.noise_line(rng)
        if line.isascii() and not line.endswith("=") and " " in line and line not in S.FOREIGN:
            return line


def odd_context(rng):
    return odd_line(rng), [odd_line(rng) if rng.random() < 0.7 else rng.choice(["I do not know what this means.", "These are numbers or signs."]) for _ in range(REPLIES)]


def contexts():
    rng = random.Random(SEED)
    names = [C.CONCEPTS[i % len(C.CONCEPTS)] for i in range(CONCEPT_CONTEXTS)]
    makers = [("plain", lambda name=name: concept_context(rng, name)) for name in names]
    makers += [("plain", lambda: thing_context(rng))] * THING_CONTEXTS + [("odd", lambda: odd_context(rng))] * ODD_CONTEXTS
    seen, out = set(), []
    for i, (kind, make) in enumerate(makers):
        while True:
            topic, replies = make()
            texts = [topic, *replies]
            if topic not in seen and len(set(texts)) == len(texts) and not any(C.forbidden(text) for text in texts):
                break
        seen.add(topic)
        out.append({"id": f"varied-{i:03d}", "split": "train", "kind": kind, "topic": topic, "replies": replies})
    return out


def main():
    lines = ["# Training contexts of every length, written by data/lab-model/recipe/varied_contexts.py (seeded). Schema as contexts.yaml.", "contexts:"]
    quoted = lambda text: json.dumps(text, ensure_ascii=False)
    for c in contexts():
        replies = ", ".join(quoted(r) for r in c["replies"])
        lines.append(f"  - {{id: {c['id']}, split: {c['split']}, kind: {c['kind']}, topic: {quoted(c['topic'])}, replies: [{replies}]}}")
    target = Path(__file__).resolve().parents[2] / "prompts" / "varied-contexts.yaml"
    target.write_text("\n".join(lines) + "\n")
    print(target.name, len(lines) - 2, "contexts")


if __name__ == "__main__":
    main()
