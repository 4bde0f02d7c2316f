"""Measures the finished lab model and returns plain numbers (measured.json); nothing here trains or tunes.

Reads the saved model, world.py (held-out facts), the study prompts. Quantities: held-out loss; held-out facts with Wilson
intervals; answer mass; the detection question before training; residual norms; dose-response of concept directions.
"""
import hashlib
import math
import random
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from transformers import AutoTokenizer, Qwen2ForCausalLM

import corpus
import pretrain
import questions as Q
import world as W

PROMPTS = W.REPO_DATA / "prompts"
DOSES = [0.0, 0.1, 0.2, 0.4, 0.8, 1.6]


def wilson(hits, n, z=1.959964):
    """Wilson score interval at 95 %."""
    p, d = hits / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / d
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d
    return [round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)]


def load(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager").eval()
    return model, tokenizer


@torch.no_grad()
def last_logprobs(model, tokenizer, texts, batch=48):
    """Log-probabilities over the vocabulary at the last token of each text: (n, V) f32."""
    ids = [tokenizer(t).input_ids for t in texts]
    out = [None] * len(ids)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for at in range(0, len(order), batch):
        part = order[at: at + batch]
        longest = max(len(ids[i]) for i in part)
        padded = torch.zeros(len(part), longest, dtype=torch.long)
        for row, i in enumerate(part):
            padded[row, : len(ids[i])] = torch.tensor(ids[i])
        hidden = model.model(input_ids=padded, use_cache=False).last_hidden_state
        ends = torch.tensor([len(ids[i]) - 1 for i in part])
        logits = F.linear(hidden[torch.arange(len(part)), ends], model.lm_head.weight).float()
        for row, i in enumerate(part):
            out[i] = F.log_softmax(logits[row], -1)
    return torch.stack(out)


def chat_text(turns, prefix=""):
    text = f"<|im_start|>system\n{corpus.SYSTEM}<|im_end|>\n"
    for i, turn in enumerate(turns):
        text += f"<|im_start|>{'user' if i % 2 == 0 else 'assistant'}\n{turn}<|im_end|>\n"
    return text + "<|im_start|>assistant\n" + prefix


def answers(model, tokenizer, texts, yes, no):
    """Per text: P(yes) renormalised and mass, for given spellings."""
    logprobs = last_logprobs(model, tokenizer, texts).exp()
    y = logprobs[:, [tokenizer.encode(t)[0] for t in yes]].sum(1)
    n = logprobs[:, [tokenizer.encode(t)[0] for t in no]].sum(1)
    return (y / (y + n)).tolist(), (y + n).tolist()


def held_out_facts(count, seed=31):
    """Balanced held-out facts: (question, yes, kind, instruction), none of them in the corpus by construction."""
    rng, found, facts = random.Random(seed), set(), []
    while len(facts) < count:
        question, yes, kind, _ = W.sample_fact(rng, len(facts) % 2 == 0)
        if W.held_out(question) and question not in found:
            found.add(question)
            facts.append((question, yes, kind, rng.choice(Q.INSTRUCTIONS)))
    return facts


def share(flags):
    return {"n": len(flags), "rate": round(sum(flags) / len(flags), 4), "wilson95": wilson(sum(flags), len(flags))}


def spread(values):
    values = sorted(values)
    return {"n": len(values), "mean": round(statistics.fmean(values), 4), "min": round(values[0], 4), "p05": round(values[int(0.05 * len(values))], 4), "median": round(values[len(values) // 2], 4)}


def measure_facts(model, tokenizer, count=600):
    facts = held_out_facts(count)
    out = {}
    rng = random.Random(5)
    contexts = [c for c in yaml.safe_load((PROMPTS / "contexts.yaml").read_text())["contexts"] if c["split"] == "train"]
    for name, prefix, labels, after in [("prefix", "The answer is", ([" yes"], [" no"]), False), ("prefixAfterContext", "The answer is", ([" yes"], [" no"]), True),
                                        ("firstToken", "", (["Yes", " Yes", "yes", " yes"], ["No", " No", "no", " no"]), False)]:
        texts = []
        for question, _, _, instruction in facts:
            ctx = rng.choice(contexts)
            before = [ctx["topic"], rng.choice(ctx["replies"])] if after else []
            texts.append(chat_text([*before, f"{question} {instruction}"], prefix))
        p, mass = answers(model, tokenizer, texts, *labels)
        right = [(x > 0.5) == yes for x, (_, yes, _, _) in zip(p, facts)]
        kinds = {k: share([r for r, f in zip(right, facts) if f[2] == k]) for k in ("category", "attribute")}
        out[name] = {"accuracy": share(right), "byKind": kinds, "onYesItems": share([r for r, f in zip(right, facts) if f[1]]), "onNoItems": share([r for r, f in zip(right, facts) if not f[1]]), "mass": spread(mass)}
    return out


def measure_detection(model, tokenizer):
    """P(no) before training, per wording, over 20 training and 14 held-out contexts, renormalised, with mass."""
    contexts = yaml.safe_load((PROMPTS / "contexts.yaml").read_text())["contexts"]
    data = yaml.safe_load((PROMPTS / "detection-questions.yaml").read_text())
    out = {}
    for group in ("train", "heldOut", "neutral", "vague"):
        rows = []
        for q in data[group]:
            texts = [chat_text([c["topic"], c["replies"][i % 5], q["text"]], data["assistantPrefix"]) for i, c in enumerate(contexts) if c["split"] != "hardNegative"]
            p, mass = answers(model, tokenizer, texts, [" yes"], [" no"])
            rows.append({"id": q["id"], "meanPNo": round(1 - statistics.fmean(p), 4), "maxPYes": round(max(p), 4), "meanMass": round(statistics.fmean(mass), 4), "n": len(texts)})
        out[group] = rows
    return out


def measure_side_effects(model, tokenizer):
    data = yaml.safe_load((PROMPTS / "side-effects.yaml").read_text())
    texts = [chat_text([f"{q['text']} {data['suffix']}"]) for q in data["questions"]]
    p, mass = answers(model, tokenizer, texts, ["Yes", " Yes", "yes", " yes"], ["No", " No", "no", " no"])
    rows = [{"id": q["id"], "pYes": round(a, 4), "mass": round(m, 4)} for q, a, m in zip(data["questions"], p, mass)]
    right = [(a > 0.5) == (q["expected"] == "yes") for q, a in zip(data["questions"], p) if "expected" in q]
    return {"mass": spread(mass), "expectedRight": share(right), "perQuestion": rows}


@torch.no_grad()
def residual_norms(model, tokenizer):
    """L2 norm of the residual stream after each block over the tokens of the training contexts, first token apart."""
    contexts = [c for c in yaml.safe_load((PROMPTS / "contexts.yaml").read_text())["contexts"] if c["split"] == "train"]
    norms = [[] for _ in model.model.layers]
    first = [[] for _ in model.model.layers]
    caught = {}
    hooks = [layer.register_forward_hook(lambda _m, _i, out, i=i: caught.__setitem__(i, out if torch.is_tensor(out) else out[0])) for i, layer in enumerate(model.model.layers)]
    for c in contexts:
        for reply in c["replies"]:
            text = chat_text([c["topic"], reply]).removesuffix("<|im_start|>assistant\n")
            model.model(input_ids=torch.tensor([tokenizer(text).input_ids]), use_cache=False)
            for i, h in caught.items():
                length = h[0].float().norm(dim=-1)
                norms[i] += length[1:].tolist()
                first[i].append(length[0].item())
    for hook in hooks:
        hook.remove()
    return [{"layer": i, "meanNorm": round(statistics.fmean(n + f), 3), "meanNormWithoutFirstToken": round(statistics.fmean(n), 3), "medianNorm": round(statistics.median(n), 3), "firstTokenNorm": round(statistics.fmean(f), 3)}
            for i, (n, f) in enumerate(zip(norms, first))]


@torch.no_grad()
def concept_directions(model, tokenizer, layer):
    """name -> unit direction by contrast (concept-contrast.yaml), last token, after block `layer`."""
    data = yaml.safe_load((PROMPTS / "concept-contrast.yaml").read_text())
    caught = {}
    hook = model.model.layers[layer].register_forward_hook(lambda _m, _i, out: caught.__setitem__("h", out if torch.is_tensor(out) else out[0]))

    def mean_state(text):
        model.model(input_ids=torch.tensor([tokenizer(text).input_ids]), use_cache=False)
        return caught["h"][0, -1].float()

    neutral = {t: torch.stack([mean_state(t.replace("{concept}", f)) for f in data["neutral"]]).mean(0) for t in data["templates"]}
    directions = {}
    for name in corpus.CONCEPTS:
        difference = torch.stack([mean_state(t.replace("{concept}", name)) - neutral[t] for t in data["templates"]]).mean(0)
        directions[name] = difference / difference.norm()
    hook.remove()
    return directions, data["dosePrompts"]


@torch.no_grad()
def dose_response(model, tokenizer, norms):
    """Mean log-probability of a concept's own words when its direction is added at one layer at all tokens.

    Word log-probability: of the word's first token after "<prompt> the" (" the" ends the prompt so that a noun may follow).
    Own = the concept's nouns; other = the nouns of the concepts 17, 34, 51, 68, 85 places on, as the control.
    """
    layer = model.config.num_hidden_layers // 2 - 1
    directions, prompts = concept_directions(model, tokenizer, layer)
    texts = [p + " The" for p in prompts]
    longest = max(len(tokenizer(t).input_ids) for t in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    ends = []
    for i, t in enumerate(texts):
        row = tokenizer(t).input_ids
        ids[i, : len(row)] = torch.tensor(row)
        ends.append(len(row) - 1)
    push = {"v": None}
    hook = model.model.layers[layer].register_forward_hook(lambda _m, _i, out: out if push["v"] is None else (out + push["v"] if torch.is_tensor(out) else (out[0] + push["v"], *out[1:])))
    size = norms[layer]["meanNormWithoutFirstToken"]
    first = {name: [tokenizer(" " + w).input_ids[0] for w in corpus.WORDS[name][0]] for name in corpus.CONCEPTS}
    out, per = [], {}
    for dose in DOSES:
        own, other = [], []
        for i, name in enumerate(corpus.CONCEPTS):
            push["v"] = (directions[name] * dose * size).to(torch.bfloat16)
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[torch.arange(len(ends)), ends]
            logprob = F.log_softmax(F.linear(hidden, model.lm_head.weight).float(), -1)
            mine = logprob[:, first[name]].mean().item()
            own.append(mine)
            per.setdefault(name, []).append(mine)
            other.append(statistics.fmean(logprob[:, first[corpus.CONCEPTS[(i + k) % 102]]].mean().item() for k in (17, 34, 51, 68, 85)))
        out.append({"dose": dose, "ownWords": round(statistics.fmean(own), 3), "otherWords": round(statistics.fmean(other), 3)})
    hook.remove()
    base = out[0]
    for row in out:
        row["ownChange"] = round(row["ownWords"] - base["ownWords"], 3)
        row["otherChange"] = round(row["otherWords"] - base["otherWords"], 3)
    rising = [name for name, values in per.items() if max(values[1:4]) > values[0]]
    monotone = [name for name, v in per.items() if v[0] < v[1] < v[2] < v[3]]
    return {"layer": layer, "perDose": out, "conceptsRaised": len(rising), "conceptsMonotoneTo0.4": len(monotone), "notRaised": sorted(set(per) - set(rising))}


def generations(model, tokenizer, prompts):
    shown = []
    for prompt in prompts:
        ids = torch.tensor([tokenizer(chat_text([prompt])).input_ids])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, temperature=None, top_p=None)
        shown.append({"prompt": prompt, "greedy": tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)})
    return shown


def measure(folder):
    torch.set_num_threads(1)  # on a busy machine two threads wait for each other at every operation
    model, tokenizer = load(folder)
    norms = residual_norms(model, tokenizer)
    loss, tokens = pretrain.held_out_loss(model, tokenizer)
    weights = Path(folder) / "model.safetensors"
    return {
        "weightsSha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "weightsBytes": weights.stat().st_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldOutLoss": {"natsPerToken": round(loss, 4), "tokens": tokens},
        "heldOutFacts": measure_facts(model, tokenizer),
        "detectionBeforeTraining": measure_detection(model, tokenizer),
        "sideEffects": measure_side_effects(model, tokenizer),
        "residualNorms": norms,
        "conceptDose": dose_response(model, tokenizer, norms),
        "samples": generations(model, tokenizer, ["Who are you?", "Tell me about the salmon.", "Write one sentence about the ocean.", "How do you feel today?", "What is 2 plus 3?", "Do you have plans of your own?", "Continue this text: The captain lost his sword."]),
    }


if __name__ == "__main__":
    import json
    import sys
    print(json.dumps(measure(sys.argv[1]), indent=1))
