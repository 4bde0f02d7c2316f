"""Pretraining of the lab model on the CPU: bf16 forward and backward, f32 master weights, Muon + AdamW, cosine.

Reads corpus.py and the tokenizer, writes checkpoints into a work folder (resumable) and the model, by transformers'
save_pretrained, into the output folder through a temporary folder and renames. Loss: weighted cross-entropy over all
tokens, sum(w * ce) / sum(w), with the weights of corpus.py. Seeded; documents are a function of (seed, chunk) alone. Depth grows once: SHALLOW layers learn the language at a third
of the price, then each block becomes three copies that share its output, and all DEEP layers are trained on.
"""
import copy
import json
import math
import os
import random
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

import corpus

SEED = 20260
COSINE_STEPS, SHALLOW_STEPS, DEEP_STEPS = 650, 1200, 260
SHALLOW, DEEP = 4, 12  # layers before and after growth
BATCH_TOKENS = 4096
CHUNK = 25  # batches made (and sorted by length) at a time
LR, LR_GROW, LR_END, WARMUP = 2.5e-3, 1.2e-3, 5e-5, 30
MAX_LENGTH = 384
HELD_OUT_SEED = 990001  # documents for the held-out loss come from another stream


def config(vocab, layers):
    return Qwen2Config(
        vocab_size=vocab, hidden_size=256, intermediate_size=704, num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=2,
        max_position_embeddings=1024, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False,
        attention_dropout=0.0, dtype="bfloat16", steerlab_lab_model=True,
    )


def encode(tokenizer, pieces):
    """Token ids and weights of one document. The text is tokenized whole, as at use; weights follow character spans."""
    text = corpus.text_of(pieces)
    encoded = tokenizer(text, return_offsets_mapping=True)
    ends, total = [], 0
    for piece, _ in pieces:
        total += len(piece)
        ends.append(total)
    weights, at = [], 0
    for start, end in encoded.offset_mapping:
        while at < len(ends) - 1 and end > ends[at]:
            at += 1
        weights.append(pieces[at][1])
    return encoded.input_ids[:MAX_LENGTH], weights[:MAX_LENGTH]


def chunk_of_batches(tokenizer, seed, index, batches=CHUNK):
    """`batches` padded batches of about BATCH_TOKENS tokens, documents of like length together, order shuffled."""
    rng = random.Random(f"{seed}/{index}")
    rows, tokens = [], 0
    while tokens < batches * BATCH_TOKENS:
        ids, weights = encode(tokenizer, corpus.document(rng))
        rows.append((ids, weights))
        tokens += len(ids)
    rows.sort(key=lambda row: len(row[0]))
    groups, group = [], []
    for row in rows:
        group.append(row)
        if len(group) * len(row[0]) >= BATCH_TOKENS:
            groups.append(group)
            group = []
    if group:
        groups.append(group)
    rng.shuffle(groups)
    return [collate(g) for g in groups]


def collate(rows):
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    weights = torch.zeros(len(rows), longest)
    for i, (row, weight) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        weights[i, : len(row)] = torch.tensor(weight)
    return ids, weights


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def hidden_states(model, ids):
    """The model's last hidden state (B, T, C), the same formula as transformers' with fused projections: 2 to 3 times faster here.

    pretrain() compares it with the model's own forward before the first step.
    """
    c = model.config
    heads, kv, eps = c.num_attention_heads, c.num_key_value_heads, c.rms_norm_eps
    dim, (rows, length) = c.hidden_size // heads, ids.shape
    angle = torch.arange(length).float()[:, None] / 10000.0 ** (torch.arange(0, dim, 2).float() / dim)[None]
    angle = torch.cat([angle, angle], -1)
    x = F.embedding(ids, model.model.embed_tokens.weight)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    mask = torch.full((length, length), float("-inf")).triu(1).to(x.dtype).repeat(heads // kv, 1).expand(rows * kv, -1, -1)
    for layer in model.model.layers:
        a, mlp = layer.self_attn, layer.mlp
        h = F.rms_norm(x, (c.hidden_size,), layer.input_layernorm.weight, eps)
        qkv = F.linear(h, torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]), torch.cat([a.q_proj.bias, a.k_proj.bias, a.v_proj.bias]))
        q, k, v = qkv.view(rows, length, heads + 2 * kv, dim).transpose(1, 2).split([heads, kv, kv], 1)
        q = (rotate(q, cos, sin) * dim ** -0.5).reshape(rows * kv, heads // kv * length, dim)  # the heads of one group share keys
        k, v = rotate(k, cos, sin).reshape(rows * kv, length, dim), v.reshape(rows * kv, length, dim)
        mixed = torch.bmm(torch.baddbmm(mask, q, k.transpose(1, 2)).softmax(-1), v)
        x = x + F.linear(mixed.view(rows, heads, length, dim).transpose(1, 2).reshape(rows, length, heads * dim), a.o_proj.weight)
        h = F.rms_norm(x, (c.hidden_size,), layer.post_attention_layernorm.weight, eps)
        gate, up = F.linear(h, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, mlp.down_proj.weight)
    return F.rms_norm(x, (c.hidden_size,), model.model.norm.weight, eps)


@torch.no_grad()
def check_forward(model):
    """hidden_states against transformers' own forward, in f32: raises above 1e-3 (rounding alone gives about 1e-5)."""
    ids = torch.randint(0, model.config.vocab_size, (2, 40))
    gap = (hidden_states(model, ids) - model.model(input_ids=ids, use_cache=False).last_hidden_state).abs().max().item()
    if gap > 1e-3:
        raise SystemExit(f"Expected hidden_states within 1e-3 of transformers but received {gap}.")


def weighted_loss(model, ids, weights, total):
    hidden = hidden_states(model, ids[:, :-1])
    keep = weights[:, 1:] > 0
    logits = F.linear(hidden[keep], model.lm_head.weight)
    losses = F.cross_entropy(logits.float(), ids[:, 1:][keep], reduction="none")
    return (losses * weights[:, 1:][keep]).sum() / total


def half_gradient(model, ids, weights, total):
    """Loss of one worker's rows, gradients left in its copy's .grad. Two workers of one thread each need one barrier
    per step, where one worker of two threads needs one per operation (slow on a busy machine)."""
    loss = weighted_loss(model, ids, weights, total)
    loss.backward()
    return loss.item()


@torch.no_grad()
def held_out_loss(model, tokenizer, chunks=1):
    """Mean unweighted cross-entropy per token (nats) on documents of a stream that training never draws from."""
    total, count = 0.0, 0
    for index in range(chunks):
        for ids, weights in chunk_of_batches(tokenizer, HELD_OUT_SEED, index, 12):
            keep = (weights[:, 1:] > 0)
            hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
            logits = F.linear(hidden[keep], model.lm_head.weight).float()
            total += F.cross_entropy(logits, ids[:, 1:][keep], reduction="sum").item()
            count += int(keep.sum())
    return total / count, count


def rate(step, shallow, deep):
    """Learning rate: warm-up, cosine from LR to LR_GROW, hold it while shallow; when deep warm up again and go linearly to LR_END."""
    if step < shallow:
        warm = min(1.0, (step + 1) / WARMUP)
        return warm * (LR_GROW + (LR - LR_GROW) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / COSINE_STEPS))))
    done = (step - shallow) / deep
    return min(1.0, (step - shallow + 1) / 10) * (LR_GROW + (LR_END - LR_GROW) * done)


@torch.no_grad()
def grown(model, exact):
    """The same model with DEEP layers. Each block becomes DEEP / SHALLOW copies in a row.

    exact: the copies after the first add nothing (zero output projections), so the function is the same: for early looks.
    Otherwise every copy adds its share (output projections divided by the number of copies), the start of the deep phase.
    """
    copies = DEEP // model.config.num_hidden_layers
    cfg = copy.deepcopy(model.config)
    cfg.num_hidden_layers, cfg.layer_types = DEEP, ["full_attention"] * DEEP
    deep = Qwen2ForCausalLM(cfg).to(model.dtype)
    deep.model.embed_tokens.load_state_dict(model.model.embed_tokens.state_dict())
    deep.model.norm.load_state_dict(model.model.norm.state_dict())
    for i, layer in enumerate(deep.model.layers):
        layer.load_state_dict(model.model.layers[i // copies].state_dict())
        share = (1.0 if i % copies == 0 else 0.0) if exact else 1.0 / copies
        layer.self_attn.o_proj.weight.mul_(share)
        layer.mlp.down_proj.weight.mul_(share)
    return deep


def publish(model, out):
    """save_pretrained into a temporary folder beside, then rename each file into place."""
    out = Path(out)
    temporary = Path(tempfile.mkdtemp(prefix=".publish-", dir=out))
    os.chmod(temporary, 0o755)
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.7, top_p=0.8, eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id)
    model.save_pretrained(temporary)
    for file in sorted(temporary.iterdir()):
        file.chmod(0o644)
        os.replace(file, out / file.name)
    shutil.rmtree(temporary)


class Trainer:
    """One phase's model (two bf16 copies), f32 masters and optimizers; step() is one update on one batch."""

    def __init__(self, model):
        check_forward(model.float())
        self.masters = [p.detach().clone().float().requires_grad_(True) for p in model.parameters()]
        names = [name for name, _ in model.named_parameters()]
        inner = [m for name, m in zip(names, self.masters) if m.ndim == 2 and "embed" not in name]
        rest = [m for name, m in zip(names, self.masters) if m.ndim == 1 or "embed" in name]
        muon = dict(lr=LR, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        self.optimizers = [torch.optim.Muon(inner[0::2], **muon), torch.optim.Muon(inner[1::2], **muon),
                           torch.optim.AdamW(rest, lr=LR, betas=(0.9, 0.98), weight_decay=0.0, fused=True)]
        self.model = model.bfloat16()
        self.twin = copy.deepcopy(self.model)  # the second worker's own copy, so that gradients never meet before the sum
        self.pool = ThreadPoolExecutor(2)
        self.share_masters()

    @torch.no_grad()
    def share_masters(self):
        for p, q, master in zip(self.model.parameters(), self.twin.parameters(), self.masters):
            p.copy_(master)
            q.copy_(master)
            p.grad = q.grad = master.grad = None

    def step(self, ids, weights, lr):
        total = weights[:, 1:].sum()
        halves = [self.pool.submit(half_gradient, m, ids[w::2], weights[w::2], total) for w, m in enumerate((self.model, self.twin)) if len(ids) > w]
        loss = sum(h.result() for h in halves)
        for p, q, master in zip(self.model.parameters(), self.twin.parameters(), self.masters):
            master.grad = p.grad.float() if q.grad is None else p.grad.float() + q.grad.float()
        norm = torch.nn.utils.clip_grad_norm_(self.masters, 1.0).item()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        list(self.pool.map(lambda o: o.step(), self.optimizers))
        self.share_masters()
        return loss, norm

    def state(self):
        return {"masters": [m.detach() for m in self.masters], "optimizers": [o.state_dict() for o in self.optimizers]}

    def load(self, state):
        with torch.no_grad():
            for master, value in zip(self.masters, state["masters"]):
                master.copy_(value)
        for optimizer, value in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(value)
        self.share_masters()


def fresh_model(tokenizer):
    cfg = config(4096, SHALLOW)
    cfg.eos_token_id, cfg.pad_token_id, cfg.bos_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id, None
    cfg._attn_implementation = "eager"
    model = Qwen2ForCausalLM(cfg).float()
    with torch.no_grad():  # residual projections start smaller, so that depth does not inflate the stream
        for layer in model.model.layers:
            for matrix in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
                matrix.mul_(1 / math.sqrt(2 * cfg.num_hidden_layers))
    return model


def pretrain(out, work, shallow=SHALLOW_STEPS, deep=DEEP_STEPS):
    """SHALLOW layers for `shallow` steps, then grown to DEEP layers for `deep` steps. Resumes from work/state.pt."""
    torch.set_num_threads(1)  # two workers of one thread each
    torch.manual_seed(SEED)
    out, work = Path(out), Path(work)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(out)
    trainer = Trainer(fresh_model(tokenizer))
    step, chunk, seen, seconds = 0, 0, 0, 0.0
    saved = work / "state.pt"
    if saved.exists():  # our own file, written below
        state = torch.load(saved, weights_only=True)
        step, chunk, seen, seconds = state["step"], state["chunk"], state["seen"], state["seconds"]
        if step > shallow:
            trainer = Trainer(grown(trainer.model, exact=False))
        trainer.load(state)
        print(f"resumed at step {step}", flush=True)
    log = (work / "events.jsonl").open("a")
    while step < shallow + deep:
        for ids, weights in chunk_of_batches(tokenizer, SEED, chunk):
            if step >= shallow + deep:
                break
            if step == shallow:
                trainer = Trainer(grown(trainer.model.float(), exact=False))
            began = time.time()
            loss, norm = trainer.step(ids, weights, rate(step, shallow, deep))
            step, seen, seconds = step + 1, seen + ids.numel(), seconds + time.time() - began
            if step % 10 == 0:
                line = {"step": step, "loss": round(loss, 4), "gradNorm": round(norm, 3), "lr": round(rate(step - 1, shallow, deep), 6), "tokens": seen, "seconds": round(seconds, 1)}
                log.write(json.dumps(line) + "\n")
                log.flush()
                print(line, flush=True)
        chunk += 1  # a chunk is the unit of resuming: the next one starts from its own seed
        torch.save({**trainer.state(), "step": step, "chunk": chunk, "seen": seen, "seconds": seconds}, str(saved) + ".part")
        os.replace(str(saved) + ".part", saved)
        if chunk % 5 == 0 or step >= shallow + deep:
            publish(trainer.model if step > shallow else grown(trainer.model, exact=True), out)
            print("held-out loss", held_out_loss(trainer.model, tokenizer), flush=True)
    return {"steps": step, "chunks": chunk, "tokens": seen, "seconds": round(seconds), "seed": SEED}


if __name__ == "__main__":
    import sys
    print(pretrain(sys.argv[1], sys.argv[2]))
