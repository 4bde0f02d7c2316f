"""A quick check that the study's phenomenon lives on this model: a hand-made LoRA learns to notice steering.

Not the study (that is the library's): torch only, random directions, strict-like split (held-out directions, contexts,
wordings). Steer, remove, ask: steered context pass without gradient into a cache, question on that cache with gradient.
Usage: python check_detection.py MODEL_DIR [steps] [out.json]
"""
import json
import random
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
import yaml
from transformers import DynamicCache

import corpus
import measure

RANGES = [(0, 4), (4, 8), (8, 11)]
STRENGTHS = [0.05, 0.1, 0.2, 0.4]
CELL = 48  # trials per cell


class Lora(nn.Module):
    """y = Wx + (alpha / r) B A dropout(x); A (r, in) normal, B (out, r) zero."""

    def __init__(self, base, r=16, alpha=32, dropout=0.05):
        super().__init__()
        self.base, self.scaling, self.dropout = base, alpha / r, nn.Dropout(dropout)
        self.a = nn.Parameter(torch.empty(r, base.in_features).uniform_(-1, 1) / base.in_features ** 0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        low = F.linear(self.dropout(x), self.a.to(x.dtype))
        return self.base(x) + F.linear(low, self.b.to(x.dtype)) * self.scaling


def pad(rows):
    longest = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


class Study:
    def __init__(self, folder):
        self.model, self.tokenizer = measure.load(folder)
        self.model.requires_grad_(False)
        self.norms = [row["meanNormWithoutFirstToken"] for row in measure.residual_norms(self.model, self.tokenizer)]
        self.push, self.mask = None, None
        for i, layer in enumerate(self.model.model.layers):
            layer.register_forward_hook(lambda _m, _x, out, i=i: self.steer(i, out))
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                setattr(layer.self_attn, name, Lora(getattr(layer.self_attn, name)))
        self.trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.labels = [self.tokenizer.encode(" no")[0], self.tokenizer.encode(" yes")[0]]

    def steer(self, i, out):
        if self.push is None:
            return out
        h = out if torch.is_tensor(out) else out[0]
        add = self.push[:, i].unsqueeze(1) * self.mask.unsqueeze(-1)
        return (h + add.to(h.dtype)) if torch.is_tensor(out) else (h + add.to(h.dtype), *out[1:])

    def ids(self, topic, reply, question):
        context = f"<|im_start|>system\n{corpus.SYSTEM}<|im_end|>\n<|im_start|>user\n{topic}<|im_end|>\n<|im_start|>assistant\n{reply}<|im_end|>\n"
        ask = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\nThe answer is"
        return self.tokenizer(context).input_ids, self.tokenizer(ask).input_ids

    def logits(self, trials):
        """trials: (context ids, question ids, (direction, range, strength) or None) -> (n, V) f32."""
        ids, mask = pad([t[0] for t in trials])
        push = torch.zeros(len(trials), len(self.norms), self.model.config.hidden_size)
        for row, (_, _, plan) in enumerate(trials):
            if plan is not None:
                for i in range(*plan[1]):
                    push[row, i] = plan[0] * plan[2] * self.norms[i]
        self.push, self.mask = push, mask.float()
        cache = DynamicCache()
        with torch.no_grad():
            self.model.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True)
        self.push = None
        asks, ask_mask = pad([t[1] for t in trials])
        positions = mask.sum(1, keepdim=True) + torch.arange(asks.shape[1])
        hidden = self.model.model(input_ids=asks, attention_mask=torch.cat([mask, ask_mask], 1), position_ids=positions, past_key_values=cache, use_cache=True).last_hidden_state
        ends = ask_mask.sum(1) - 1
        return F.linear(hidden[torch.arange(len(trials)), ends], self.model.lm_head.weight).float()


def main(folder, steps=400, out=None, batch=16, lr=1e-3, seed=3):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    study = Study(folder)
    contexts = yaml.safe_load((measure.PROMPTS / "contexts.yaml").read_text())["contexts"]
    asks = yaml.safe_load((measure.PROMPTS / "detection-questions.yaml").read_text())
    by = {s: [c for c in contexts if c["split"] == s] for s in ("train", "heldOut", "hardNegative")}
    generator = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(200, study.model.config.hidden_size, generator=generator), dim=-1)

    def trial(split, question, plan):
        c = rng.choice(by[split])
        return (*study.ids(c["topic"], rng.choice(c["replies"]), question), plan)

    optimizer = torch.optim.AdamW(study.trainable, lr=lr, weight_decay=0.01)
    study.model.train()
    began = time.time()
    for step in range(steps):
        steered = [i % 2 == 0 for i in range(batch)]
        trials = [trial("train", rng.choice(asks["train"])["text"], (vectors[rng.randrange(100)], rng.choice(RANGES), rng.choice(STRENGTHS)) if s else None) for s in steered]
        logits = study.logits(trials)[:, study.labels]
        loss = F.cross_entropy(logits, torch.tensor(steered).long())
        optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / 40) * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(study.trainable, 1.0)
        optimizer.step()
        if step % 25 == 0 or step == steps - 1:
            print(json.dumps({"step": step, "loss": round(loss.item(), 4), "seconds": round(time.time() - began)}), flush=True)
    study.model.eval()

    @torch.no_grad()
    def said_yes(trials):
        hits, mass = [], []
        for at in range(0, len(trials), 32):
            p = study.logits(trials[at: at + 32]).softmax(-1)[:, study.labels]
            hits += (p[:, 1] > p[:, 0]).tolist()
            mass += p.sum(1).tolist()
        return {**measure.share(hits), "mass": round(sum(mass) / len(mass), 4)}

    result = {"steps": steps, "batch": batch, "lr": lr, "perCell": CELL, "seed": seed, "seconds": round(time.time() - began), "hits": {}, "falseAlarms": {}}
    for tier, low, split in [("inDistribution", 0, "train"), ("heldOutVectorsAndContexts", 100, "heldOut")]:
        for start, end in RANGES:
            for strength in STRENGTHS:
                trials = [trial(split, rng.choice(asks["train"])["text"], (vectors[low + rng.randrange(100)], (start, end), strength)) for _ in range(CELL)]
                result["hits"][f"{tier} [{start},{end}) {strength}"] = said_yes(trials)["rate"]
    for name, split, group in [("train contexts, train wordings", "train", "train"), ("held-out contexts, train wordings", "heldOut", "train"), ("hard negatives, train wordings", "hardNegative", "train")]:
        result["falseAlarms"][name] = said_yes([trial(split, rng.choice(asks[group])["text"], None) for _ in range(192)])
    for group in ("heldOut", "vague", "neutral"):
        for q in asks[group]:
            clean = said_yes([trial("heldOut", q["text"], None) for _ in range(64)])
            hit = said_yes([trial("heldOut", q["text"], (vectors[100 + rng.randrange(100)], rng.choice(RANGES), 0.4)) for _ in range(CELL)])
            result["falseAlarms"][q["id"]] = {**clean, "hitRateAt0.4": hit["rate"]}
    text = json.dumps(result, indent=1)
    if out:
        open(out, "w").write(text + "\n")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1], *(int(a) for a in sys.argv[2:3]), *sys.argv[3:4])
