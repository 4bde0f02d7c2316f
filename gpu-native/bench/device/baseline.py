"""The same training work by transformers + PEFT, for device.sh: python3 baseline.py <shape> <seconds> [cpu].

Prints lines like bench.cpp's: result, shape, what, median, unit, "-", spread; the peak memory of each way after it. Random bf16 weights; LoRA r 16 on q k v o, dropout 0.05.
Two ways: "loop" is the original procedure (one example at a time, steered prefill without gradient by forward hooks, question on
the cache, eight backward passes, one step), "batched" packs the eight examples (of equal length) into one batch. Only the last
question position passes the head, and no context position does: as fast as this way of working allows. Exits 3 where torch,
transformers, PEFT or a device is missing, naming it.
"""

import statistics
import sys
import time

SHAPES = {
    "32B": (5120, 64, 40, 8, 27648, 152064, False),
    "7B": (3584, 28, 28, 4, 18944, 152064, False),
    "0.5B": (896, 24, 14, 2, 4864, 151936, True),
    "toy": (64, 2, 4, 2, 96, 320, True),
}
MAGNITUDES = (5.0, 10.0, 20.0, 30.0)


def fail(what):
    print(f"skipped\tbaseline\t{what}")
    sys.exit(3)


try:
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model
    from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM
except ImportError as error:
    fail(f"{error.name} is not installed")


def open_model(shape, device):
    hidden, layers, heads, kv_heads, mlp, vocab, tied = SHAPES[shape]
    config = Qwen2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=mlp,
        vocab_size=vocab,
        tie_word_embeddings=tied,
        max_position_embeddings=4096,
        rope_theta=1e6,
    )
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model = model.to_empty(device=device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0) if "norm" in name else parameter.normal_(0, 0.02)
        rope = model.model.rotary_emb
        inverse = 1.0 / (1e6 ** (torch.arange(0, hidden // heads, 2, dtype=torch.float32, device=device) / (hidden // heads)))
        rope.inv_freq.copy_(inverse)
        if hasattr(rope, "original_inv_freq"):
            rope.original_inv_freq = rope.inv_freq
    model.requires_grad_(False)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    return get_peft_model(model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=targets)).train()


class Steering:
    """Forward hooks that add magnitude * direction to the rows steered at a block: one indexed addition per block."""

    def __init__(self, blocks, rows):
        self.handles = []
        for index, block in enumerate(blocks):
            active = [(i, delta) for i, (delta, start, end) in enumerate(rows) if delta is not None and start <= index < end]
            if active:
                which = torch.tensor([i for i, _ in active], device=active[0][1].device)
                deltas = torch.stack([delta for _, delta in active])[:, None]
                self.handles.append(block.register_forward_hook(self.hook(which, deltas)))

    @staticmethod
    def hook(which, deltas):
        def add(_module, _inputs, output):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden[which] += deltas
            return output

        return add

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


class Work:
    def __init__(self, shape, examples, device):
        self.model = open_model(shape, device)
        causal = self.model.base_model.model
        self.inner, self.head = causal.model, causal.lm_head
        self.blocks = self.inner.layers
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-5, weight_decay=0.01)
        self.vocab, self.hidden, layers = SHAPES[shape][5], SHAPES[shape][0], SHAPES[shape][1]
        self.examples, self.device = examples, device
        generator = torch.Generator().manual_seed(1)
        self.targets = (torch.arange(examples) % 2).to(device)
        directions = torch.nn.functional.normalize(torch.randn(examples, self.hidden, generator=generator), dim=-1).to(device)
        thirds = [(layers * t // 3, layers - 1 if t == 2 else layers * (t + 1) // 3) for t in range(3)]
        self.rows = [
            ((MAGNITUDES[i % 4] * directions[i]).to(torch.bfloat16) if i % 2 else None, *thirds[i % 3]) for i in range(examples)
        ]

    def texts(self, context, question):
        generator = torch.Generator().manual_seed(2)
        self.contexts = torch.randint(self.vocab, (self.examples, context), generator=generator).to(self.device)
        self.questions = torch.randint(self.vocab, (self.examples, question), generator=generator).to(self.device)

    def answer(self, contexts, questions, rows):
        """Logits of the last question position; the steered context is prefilled without gradient and without the head."""
        cache = DynamicCache()
        with torch.no_grad(), Steering(self.blocks, rows):
            self.inner(input_ids=contexts, past_key_values=cache, use_cache=True)
        states = self.inner(input_ids=questions, past_key_values=cache, use_cache=True).last_hidden_state
        return self.head(states[:, -1])

    def step(self, size):
        for first in range(0, self.examples, size):
            select = list(range(first, min(first + size, self.examples)))
            logits = self.answer(self.contexts[select], self.questions[select], [self.rows[i] for i in select])
            loss = torch.nn.functional.cross_entropy(logits[:, [1, 2]].float(), self.targets[select], reduction="sum")
            (loss / self.examples).backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def sweep(self, rows):
        """One call of `rows` steered contexts and their question, with hooks, nothing shared; no adapter, no dropout."""
        steered = [self.rows[1 + 2 * (i % (self.examples // 2))] for i in range(rows)]
        with torch.no_grad():
            self.answer(self.contexts[:1].expand(rows, -1), self.questions[:1].expand(rows, -1), steered)


def synchronize():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work, seconds):
    work()
    synchronize()
    times, end = [], time.monotonic() + seconds
    while len(times) < 3 or (time.monotonic() < end and len(times) < 50):
        start = time.monotonic()
        work()
        synchronize()
        times.append(time.monotonic() - start)
    times.sort()
    median = statistics.median(times)
    return median, (times[len(times) * 3 // 4] - times[len(times) // 4]) / 2 / median


def measured(shape, what, work, seconds, value):
    """One result line; a way that does not run here is skipped by name and the others go on."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        median, spread = timed(work, seconds)
    except Exception as error:  # out of memory, an unsupported version of a library, ...
        print(f"skipped\t{shape} {what}\t{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", flush=True)
        torch.cuda.empty_cache()
        return
    number, unit = value(median)
    print(f"result\t{shape}\t{what}\t{number:.4g}\t{unit}\t-\t{spread:.3f}\ttorch", flush=True)
    if torch.cuda.is_available():  # the driver's count, as in our row: the allocator keeps what it once took
        free, total = torch.cuda.mem_get_info()
        held = (total - free) / 1e9
        print(f"result\t{shape}\tpeak memory, {what}\t{held:.4g}\tGB\t-\t0\ttorch", flush=True)


def main():
    shape, seconds = sys.argv[1], float(sys.argv[2])
    device = sys.argv[3] if len(sys.argv) > 3 else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        fail("no CUDA device in torch")
    print(f"# torch {torch.__version__}, transformers {transformers.__version__}")
    work = Work(shape, 8, device)
    for context, question in ((42, 25), (150, 30)) if shape != "toy" else ((5, 4),):
        work.texts(context, question)
        for name, size in (("peft loop", 1), ("peft batched", 8)):
            what = f"{name} {context}+{question} batch 8"
            measured(shape, what, lambda size=size: work.step(size), seconds, lambda median: (8 / median, "examples/s"))
    work.texts(42, 25)
    work.model.eval()
    with work.model.disable_adapter():
        calls, rows = (6, 204) if shape != "toy" else (1, 24)  # one call is measured
        measured(shape, f"hooks, sweep of {calls} x {rows} rows", lambda: work.sweep(rows), seconds, lambda median: (calls * median, "s"))


main()
