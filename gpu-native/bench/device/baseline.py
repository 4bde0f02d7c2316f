"""The same training work by transformers + PEFT, for device.sh: python3 baseline.py <shape> <seconds>.

Prints lines like bench.cpp's: result, shape, what, median, unit, "-", spread. Random bf16 weights; LoRA r 16 on q k v o, dropout 0.05.
Two ways: "loop" is the original procedure (one example at a time, steered prefill without gradient by forward hooks, question on
the cache, eight backward passes, one step), "batched" packs the eight examples into one padded batch. Exits 3 where torch,
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
    """Forward hooks that add magnitude * direction per row to a range of blocks."""

    def __init__(self, blocks, rows):
        self.handles = []
        for index, block in enumerate(blocks):
            active = [(i, delta) for i, (delta, start, end) in enumerate(rows) if delta is not None and start <= index < end]
            if active:
                self.handles.append(block.register_forward_hook(self.hook(active)))

    @staticmethod
    def hook(active):
        def add(_module, _inputs, output):
            hidden = output[0] if isinstance(output, tuple) else output
            for row, delta in active:
                hidden[row] += delta
            return output

        return add

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


class Work:
    def __init__(self, shape, context, question, examples, device):
        self.model = open_model(shape, device)
        self.blocks = self.model.base_model.model.model.layers
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-5, weight_decay=0.01)
        generator = torch.Generator().manual_seed(1)
        vocab, hidden, layers = SHAPES[shape][5], SHAPES[shape][0], SHAPES[shape][1]
        self.contexts = torch.randint(vocab, (examples, context), generator=generator).to(device)
        self.questions = torch.randint(vocab, (examples, question), generator=generator).to(device)
        self.targets = (torch.arange(examples) % 2).to(device)
        directions = torch.nn.functional.normalize(torch.randn(examples, hidden, generator=generator), dim=-1).to(device)
        thirds = [(layers * t // 3, layers - 1 if t == 2 else layers * (t + 1) // 3) for t in range(3)]
        self.rows = [
            ((MAGNITUDES[i % 4] * directions[i]).to(torch.bfloat16) if i % 2 else None, *thirds[i % 3]) for i in range(examples)
        ]
        self.examples = examples

    def ask(self, select):
        """Loss of the selected rows, steered context first, then the question on its cache."""
        cache = DynamicCache()
        with torch.no_grad(), Steering(self.blocks, [self.rows[i] for i in select]):
            self.model(input_ids=self.contexts[select], past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = self.model(input_ids=self.questions[select], past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1, [1, 2]]
        return torch.nn.functional.cross_entropy(logits.float(), self.targets[select], reduction="sum") / self.examples

    def step(self, size):
        for first in range(0, self.examples, size):
            self.ask(list(range(first, min(first + size, self.examples)))).backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def sweep(self, rows, question):
        """Seconds of one call of `rows` steered contexts and their questions, with hooks, nothing shared."""
        contexts, questions = self.contexts[:1].expand(rows, -1), question.expand(rows, -1)
        steered = [self.rows[1 + 2 * (i % (self.examples // 2))] for i in range(rows)]
        with torch.no_grad():
            cache = DynamicCache()
            with Steering(self.blocks, steered):
                self.model(input_ids=contexts, past_key_values=cache, use_cache=True, logits_to_keep=1)
            self.model(input_ids=questions, past_key_values=cache, use_cache=True, logits_to_keep=1)


def timed(work, seconds):
    work()
    torch.cuda.synchronize()
    times, end = [], time.monotonic() + seconds
    while len(times) < 3 or (time.monotonic() < end and len(times) < 50):
        start = time.monotonic()
        work()
        torch.cuda.synchronize()
        times.append(time.monotonic() - start)
    times.sort()
    median = statistics.median(times)
    return median, (times[len(times) * 3 // 4] - times[len(times) // 4]) / 2 / median


def main():
    shape, seconds = sys.argv[1], float(sys.argv[2])
    if not torch.cuda.is_available():
        fail("no CUDA device in torch")
    print(f"# torch {torch.__version__}, transformers {transformers.__version__}")
    context, question = 42, 25
    work = Work(shape, context, question, 8, "cuda")
    for name, size in (("peft loop", 1), ("peft batched", 8)):
        median, spread = timed(lambda size=size: work.step(size), seconds)
        print(f"result\t{shape}\t{name} {context}+{question} batch 8\t{8 / median:.4g}\texamples/s\t-\t{spread:.3f}", flush=True)
    median, spread = timed(lambda: work.sweep(204, work.questions[:1]), seconds)
    print(f"result\t{shape}\thooks, sweep of 1224 rows\t{6 * median:.4g}\ts\t-\t{spread:.3f}", flush=True)
    print(f"result\t{shape}\tpeft peak memory\t{torch.cuda.max_memory_allocated() / 1e9:.4g}\tGB\t-\t0")


main()
