"""A small random Qwen2 model worked on by transformers + PEFT, written down for steerlab_device_lab to do again and compare.

python3 lab.py <folder> <lab|toy> [cpu]: writes, in F32 and in bf16, <folder>/<type>/data.bin (tensors and numbers end to end) and
<folder>/<type>/index.txt (one "name type shape offset" a line). Holds: scores of steered trials (steered prefill by forward
hooks, clean question on its cache, all log-probabilities of the last position), the gradients of one training step and twelve
AdamW steps, with dropout. In bf16 also scores and gradients of the same weights in F32 ("exact."): how far rounding alone leads. Batch 1 and no padding, as the original works. Dropout masks come from the engine's counter-based generator
(rng.h: Philox4x32-10), so both sides drop the same elements. Exits 3 where torch, transformers, PEFT or a device is missing.
"""

import copy
import math
import os
import sys
import warnings

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj"]
SHAPES = {  # hidden, layers, heads, kv heads, mlp, vocabulary, tied, context, question, trials, examples
    "lab": (256, 6, 8, 2, 704, 4096, True, 42, 25, 6, 4),
    "toy": (64, 2, 4, 2, 96, 320, True, 7, 4, 3, 2),
}
RANK, ALPHA, DROPOUT, SEED, STEPS, RATE = 8, 16, 0.1, 11, 12, 1e-3
MAGNITUDES = (0.5, 1.0, 2.0, 4.0)


def fail(what):
    print(f"skipped\tthe lab model against transformers\t{what}")
    sys.exit(3)


try:
    import numpy
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model
    from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM
except ImportError as error:
    fail(f"{error.name} is not installed")


class Writer:
    """Arrays end to end, 256 bytes apart at least, each with a line in the index."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.data = open(f"{folder}/data.bin", "wb")
        self.index = open(f"{folder}/index.txt", "w")

    def put(self, name, kind, shape, raw):
        self.data.write(bytes(-self.data.tell() % 256))
        self.index.write(f"{name} {kind} {'x'.join(map(str, shape))} {self.data.tell()}\n")
        self.data.write(raw)

    def floats(self, name, values):
        array = values.detach().float().cpu().numpy() if torch.is_tensor(values) else numpy.asarray(values, dtype=numpy.float32)
        self.put(name, "f32", array.shape or (1,), array.tobytes())

    def ints(self, name, values):
        array = numpy.asarray(values, dtype=numpy.int32)
        self.put(name, "i32", array.shape or (1,), array.tobytes())

    def tensor(self, name, value):
        bits = value.detach().cpu()
        raw = bits.view(torch.int16).numpy().tobytes() if bits.dtype == torch.bfloat16 else bits.float().numpy().tobytes()
        self.put("tensor." + name, "bf16" if bits.dtype == torch.bfloat16 else "f32", tuple(value.shape), raw)

    def close(self):
        self.data.close()
        self.index.close()


def philox(c0, c1, c2, c3, key):
    """Four words per counter; arrays of uint64 holding 32-bit numbers, which broadcast."""
    low = numpy.uint64(0xFFFFFFFF)
    half = numpy.uint64(32)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = numpy.uint64(0xD2511F53) * c0, numpy.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> half) ^ c1 ^ numpy.uint64(k0), (p0 >> half) ^ c3 ^ numpy.uint64(k1)
        c1, c3 = p1 & low, p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


class ReplayedDropout(torch.nn.Module):
    """Drops what the engine drops: the mask of an element depends on (seed, step, site, example, position, column)."""

    now = {"step": None, "example": 0, "first": 0}  # step None: no dropout

    def __init__(self, site):
        super().__init__()
        self.site = site

    def forward(self, x):
        step = self.now["step"]
        if step is None:
            return x
        length, columns = x.shape[1], x.shape[2]
        key = (SEED ^ (0x9E3779B97F4A7C15 * (step + 1))) & 0xFFFFFFFFFFFFFFFF
        quads = numpy.arange((columns + 3) // 4, dtype=numpy.uint64)[None, :]
        positions = numpy.arange(self.now["first"], self.now["first"] + length, dtype=numpy.uint64)[:, None]
        zero = numpy.zeros((length, quads.shape[1]), dtype=numpy.uint64)
        words = philox(quads + zero, positions + zero, zero + numpy.uint64(self.now["example"]), zero + numpy.uint64(self.site), key)
        threshold = int(float(numpy.float32(DROPOUT)) * 4294967296.0)
        kept = numpy.stack(words, axis=-1).reshape(length, -1)[:, :columns] >= threshold
        mask = torch.from_numpy(kept.astype(numpy.float32) / numpy.float32(1 - numpy.float32(DROPOUT)))
        return x * mask.to(x.device, x.dtype)[None]


def random_model(shape, dtype, device):
    """A model whose every number matters: weights of order 1 / sqrt(in), biases and norm weights away from 0 and 1."""
    hidden, layers, heads, kv_heads, mlp, vocab, tied = SHAPES[shape][:7]
    config = Qwen2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=mlp,
        vocab_size=vocab,
        tie_word_embeddings=tied,
        max_position_embeddings=512,
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        attn_implementation="eager",
    )
    model = Qwen2ForCausalLM(config).float().eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("norm.weight"):
                p.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            elif "embed_tokens" in name:
                p.copy_(0.25 * noise)
            else:
                p.copy_(noise / math.sqrt(p.shape[1]))
    return model.to(dtype).to(device)


class Steered:
    """h + magnitude * vector at the outputs of blocks [start, end): the product rounded, then the sum."""

    def __init__(self, blocks, entry):
        self.blocks, self.entry, self.handles = blocks, entry, []

    def __enter__(self):
        if self.entry is None:
            return
        vector, start, end, magnitude = self.entry

        def hook(_module, _inputs, output):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden + (magnitude * vector).to(hidden.dtype)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        self.handles = [self.blocks[i].register_forward_hook(hook) for i in range(start, end)]

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


def answer(model, blocks, context, question, entry):
    """Logits (V) of the last question position on the cache of the steered context, which has no gradient."""
    cache = DynamicCache()
    ReplayedDropout.now["first"] = 0
    with torch.no_grad(), Steered(blocks, entry):
        model(input_ids=context[None], past_key_values=cache, use_cache=True)
    ReplayedDropout.now["first"] = len(context)
    return model(input_ids=question[None], past_key_values=cache, use_cache=True).logits[0, -1].float()


def draw(shape, device):
    hidden, layers = SHAPES[shape][:2]
    vocab, context, question, trials, examples = SHAPES[shape][5], *SHAPES[shape][7:]
    generator = torch.Generator().manual_seed(5)
    rows = trials + examples
    contexts = torch.randint(vocab, (rows, context), generator=generator)
    questions = torch.randint(vocab, (rows, question), generator=generator)
    vectors = torch.nn.functional.normalize(torch.randn(rows, hidden, generator=generator), dim=-1)
    thirds = [(layers * t // 3, max(layers * t // 3 + 1, layers * (t + 1) // 3)) for t in range(3)]
    entries = [(vectors[i].to(device), *thirds[i % 3], MAGNITUDES[i % 4]) if i % 2 else None for i in range(rows)]
    return contexts, questions, vectors, entries


def add_adapters(model, device):
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules=MODULES, task_type="CAUSAL_LM")
    peft = get_peft_model(model, config).train()
    generator = torch.Generator().manual_seed(7)
    trained = []
    for layer, block in enumerate(peft.base_model.model.model.layers):
        for index, name in enumerate(MODULES):
            lora = getattr(block.self_attn, name)
            lora.lora_dropout["default"] = ReplayedDropout(layer * 7 + index)
            for part, scale in ((lora.lora_A["default"].weight, 1.0), (lora.lora_B["default"].weight, 0.3)):
                with torch.no_grad():
                    noise = scale * torch.randn(part.shape, generator=generator) / math.sqrt(part.shape[1])
                    part.data = noise.to(device)  # F32, as the engine keeps adapters
                trained.append(part)
    return peft, trained


def train(out, prefix, steps, peft, trained, contexts, questions, entries, targets, device):
    """Gradients of step 1, then `steps` steps of AdamW at a constant rate."""
    blocks = peft.base_model.model.model.layers
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01)
    flat = lambda tensors: torch.cat([t.detach().reshape(-1).float() for t in tensors])
    out.floats(prefix + "initial", flat(trained))
    losses, norms = [], []
    for step in range(1, steps + 1):
        ReplayedDropout.now["step"] = step
        logprobs = []
        for i in range(len(targets)):
            ReplayedDropout.now["example"] = i
            logits = answer(peft, blocks, contexts[i].to(device), questions[i].to(device), entries[i])
            loss = torch.nn.functional.cross_entropy(logits[None, [1, 2]], torch.tensor([targets[i]], device=device))
            (loss / len(targets)).backward()
            losses.append(float(loss.detach()))
            logprobs.append(torch.log_softmax(logits.detach(), -1)[[1, 2]])
        if step == 1:
            out.floats(prefix + "gradients", flat([p.grad for p in trained]))
            out.floats(prefix + "logprobs", torch.stack(logprobs))
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 1.0)))
        optimizer.step()
        optimizer.zero_grad()
    out.floats(prefix + "losses", losses)
    out.floats(prefix + "norms", norms)
    out.floats(prefix + "final", flat(trained))


def write(folder, shape, dtype, device):
    hidden, layers, heads, kv_heads, mlp, vocab, tied, context, question, trials, examples = SHAPES[shape]
    model = random_model(shape, torch.float32 if dtype == "f32" else torch.bfloat16, device)
    out = Writer(folder)
    for name, value in model.state_dict().items():
        if not (tied and name == "lm_head.weight"):
            out.tensor(name, value)
    out.ints("config", [hidden, layers, heads, kv_heads, hidden // heads, mlp, vocab, 512, int(tied)])
    out.ints("sizes", [context, question, trials, examples, RANK, ALPHA, STEPS, SEED])
    out.floats("rates", [DROPOUT, RATE])
    contexts, questions, vectors, entries = draw(shape, device)
    out.ints("contexts", contexts)
    out.ints("questions", questions)
    out.floats("vectors", vectors)
    out.ints("layers", [[e[1], e[2]] if e else [0, 0] for e in entries])
    out.floats("magnitudes", [e[3] if e else 0.0 for e in entries])
    targets = [i % 2 for i in range(examples)]
    out.ints("targets", targets)

    def work(model, prefix, steps):
        ReplayedDropout.now["step"] = None
        with torch.no_grad():
            scores = [answer(model, model.model.layers, contexts[i].to(device), questions[i].to(device), entries[i]) for i in range(trials)]
        out.floats(prefix + "scores", torch.log_softmax(torch.stack(scores), -1))
        peft, trained = add_adapters(model, device)
        train(out, prefix, steps, peft, trained, contexts[trials:], questions[trials:], entries[trials:], targets, device)

    exact = copy.deepcopy(model).float() if dtype == "bf16" else None
    work(model, "", STEPS)
    if exact is not None:
        work(exact, "exact.", 1)
    out.close()


def main():
    folder, shape = sys.argv[1:3]
    device = sys.argv[3] if len(sys.argv) > 3 else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        fail("no CUDA device in torch")
    if device == "cpu":
        torch.set_num_threads(1)  # the work is small, and waiting threads hold up a busy machine
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    for dtype in ("f32", "bf16"):
        write(f"{folder}/{dtype}", shape, dtype, device)
    print(f"found\tthe lab model\tworked on by torch {torch.__version__}, transformers {transformers.__version__} on {device}")


main()
