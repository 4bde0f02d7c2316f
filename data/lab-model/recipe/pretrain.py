"""Pretraining of the lab model on the CPU: bf16 forward and backward, f32 master weights, AdamW, cosine.

Reads corpus.py and the tokenizer, writes checkpoints into a work folder (resumable) and the model, by transformers'
save_pretrained, into the output folder through a temporary folder and renames. Loss: weighted cross-entropy over all
tokens, sum(w * ce) / sum(w), with the weights of corpus.py. Seeded; documents are a function of (seed, step) alone.
"""
import json
import math
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

import corpus

SEED = 20260
STEPS = 1500
BATCH_TOKENS = 3072
CHUNK = 40  # batches made (and sorted by length) at a time
LR, LR_END, WARMUP = 2e-3, 1e-4, 60
MAX_LENGTH = 384
HELD_OUT_SEED = 990001  # documents for the held-out loss come from another stream


def config(vocab):
    return Qwen2Config(
        vocab_size=vocab, hidden_size=256, intermediate_size=704, num_hidden_layers=12, num_attention_heads=8, num_key_value_heads=2,
        max_position_embeddings=1024, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False,
        attention_dropout=0.0, dtype="bfloat16",
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


def weighted_loss(model, ids, weights):
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    keep = weights[:, 1:] > 0
    logits = F.linear(hidden[keep], model.lm_head.weight)
    losses = F.cross_entropy(logits.float(), ids[:, 1:][keep], reduction="none")
    kept = weights[:, 1:][keep]
    return (losses * kept).sum() / kept.sum()


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


def rate(step, steps):
    if step < WARMUP:
        return LR * (step + 1) / WARMUP
    progress = (step - WARMUP) / max(1, steps - WARMUP)
    return LR_END + (LR - LR_END) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def publish(model, out):
    """save_pretrained into a temporary folder beside, then rename each file into place."""
    out = Path(out)
    temporary = Path(tempfile.mkdtemp(prefix=".publish-", dir=out))
    os.chmod(temporary, 0o755)
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.7, top_p=0.8, eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id)
    model.save_pretrained(temporary)
    for file in sorted(temporary.iterdir()):
        os.replace(file, out / file.name)
    shutil.rmtree(temporary)


def pretrain(out, work, steps=STEPS, threads=2, publish_checkpoints=True):
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    out, work = Path(out), Path(work)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(out)
    cfg = config(4096)
    cfg.eos_token_id, cfg.pad_token_id, cfg.bos_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id, None
    cfg._attn_implementation = "eager"
    model = Qwen2ForCausalLM(cfg).float()
    with torch.no_grad():  # residual projections start smaller, so that depth does not inflate the stream
        for layer in model.model.layers:
            for matrix in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
                matrix.mul_(1 / math.sqrt(2 * cfg.num_hidden_layers))
    masters = [p.detach().clone().float() for p in model.parameters()]
    model = model.bfloat16()
    live = list(model.parameters())
    for master in masters:
        master.requires_grad_(True)
    matrices = [m for m in masters if m.ndim == 2]
    vectors = [m for m in masters if m.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}], lr=LR, betas=(0.9, 0.98), eps=1e-8, fused=True)
    step, chunk, seen, seconds = 0, 0, 0, 0.0
    saved = work / "state.pt"
    if saved.exists():  # our own file, written below
        state = torch.load(saved, weights_only=True)
        for master, value in zip(masters, state["masters"]):
            master.data.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        step, chunk, seen, seconds = state["step"], state["chunk"], state["seen"], state["seconds"]
        print(f"resumed at step {step}", flush=True)
    with torch.no_grad():
        for p, master in zip(live, masters):
            p.copy_(master)
    log = (work / "events.jsonl").open("a")
    while step < steps:
        batches = chunk_of_batches(tokenizer, SEED, chunk)
        chunk += 1
        for ids, weights in batches:
            if step >= steps:
                break
            began = time.time()
            loss = weighted_loss(model, ids, weights)
            loss.backward()
            for p, master in zip(live, masters):
                master.grad = p.grad.float()
                p.grad = None
            norm = torch.nn.utils.clip_grad_norm_(masters, 1.0).item()
            for group in optimizer.param_groups:
                group["lr"] = rate(step, steps)
            optimizer.step()
            with torch.no_grad():
                for p, master in zip(live, masters):
                    p.copy_(master)
                    master.grad = None
            step += 1
            seen += ids.numel()
            seconds += time.time() - began
            if step % 10 == 0:
                left = (steps - step) * seconds / step
                line = {"step": step, "loss": round(loss.item(), 4), "gradNorm": round(norm, 3), "lr": optimizer.param_groups[0]["lr"], "tokens": seen, "seconds": round(seconds, 1), "left": round(left)}
                log.write(json.dumps(line) + "\n")
                log.flush()
                print(line, flush=True)
        # a chunk is the unit of resuming: the next one starts from its own seed
        torch.save({"masters": [m.detach() for m in masters], "optimizer": optimizer.state_dict(), "step": step, "chunk": chunk, "seen": seen, "seconds": seconds}, str(saved) + ".part")
        os.replace(str(saved) + ".part", saved)
        if publish_checkpoints and (chunk % 4 == 0 or step >= steps):
            publish(model, out)
            print("held-out loss", held_out_loss(model, tokenizer), flush=True)
    return {"steps": step, "chunks": chunk, "tokens": seen, "seconds": round(seconds), "seed": SEED}


if __name__ == "__main__":
    import sys
    print(pretrain(sys.argv[1], sys.argv[2], *(int(a) for a in sys.argv[3:])))
