"""One command for the lab model: tokenizer, pretraining, held-out check, measurement, card.

    python data/lab-model/recipe/make.py [--work DIR] [--stage tokenizer|pretrain|check|measure|card]...

Without --stage all five run in order; pretraining resumes from the work folder. Written for two CPU cores, about 40 minutes.
"""
import argparse
import hashlib
import json
import random
from pathlib import Path

import card
import corpus
import measure
import pretrain
import train_tokenizer

HERE = Path(__file__).resolve().parent
OUT = HERE.parent
STAGES = ["tokenizer", "pretrain", "check", "measure", "card"]


def recipe_files():
    return sorted(p for p in HERE.iterdir() if p.suffix in (".py", ".txt"))


def recipe_hash():
    """sha256 over the recipe's files that decide the weights (names and bytes)."""
    digest = hashlib.sha256()
    for name in ("concept-words.txt", "corpus.py", "pretrain.py", "questions.py", "sentences.py", "train_tokenizer.py", "world.py", "requirements.txt"):
        digest.update(name.encode() + b"\0" + (HERE / name).read_bytes())
    return digest.hexdigest()


def check_held_out(chunks):
    """Regenerates all training text and looks for every string that must be absent; raises if one is there."""
    parts = []
    for index in range(chunks):
        rng, tokens = random.Random(f"{pretrain.SEED}/{index}"), 0
        while tokens < pretrain.CHUNK * pretrain.BATCH_TOKENS:
            ids, _ = pretrain.encode(TOKENIZER, pieces := corpus.document(rng))
            parts.append(corpus.text_of(pieces))
            tokens += len(ids)
    text = "\n".join(parts)
    flat = corpus.normal(text)
    study = [s for s in corpus.HELD if len(s) >= 8]
    found = [s for s in study if s in flat]
    facts = [q for q, _, _, _ in measure.held_out_facts(1000)]
    found += [q for q in facts if q in text]
    if found:
        raise SystemExit(f"Expected no held-out string in the corpus but found {len(found)}, first: {found[0]!r}.")
    return {"documents": len(parts), "characters": len(text), "corpusSha256": hashlib.sha256(text.encode()).hexdigest(), "studyStringsChecked": len(study), "heldOutFactsChecked": len(facts), "found": 0}


def main():
    global TOKENIZER
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", default=str(OUT.parent.parent / ".cache" / "lab-model"))
    parser.add_argument("--stage", action="append", choices=STAGES)
    args = parser.parse_args()
    stages, path = args.stage or STAGES, OUT / "measured.json"
    record = json.loads(path.read_text()) if path.exists() else {}

    def save():
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    if "tokenizer" in stages:
        train_tokenizer.train(OUT)
    from transformers import AutoTokenizer
    TOKENIZER = AutoTokenizer.from_pretrained(OUT)
    if "pretrain" in stages:
        record["training"] = {**pretrain.pretrain(OUT, args.work), "recipeSha256": recipe_hash()}
        save()
    if "check" in stages:
        record["heldOutCheck"] = check_held_out(record["training"]["chunks"])
        save()
    if "measure" in stages:
        record.update(measure.measure(OUT))
        save()
    if "card" in stages:
        (OUT / "README.md").write_text(card.render(record, json.loads((OUT / "config.json").read_text())))


if __name__ == "__main__":
    main()
