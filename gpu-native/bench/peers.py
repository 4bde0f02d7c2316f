"""The bench's work done by torch + transformers + PEFT: `peers.py <loop|batched> <lab|0.5B> <f32|bf16> <threads>`.

Prints "ready", then for every line "train" or "trial" on standard input does one batch of 8 rows and prints its seconds. Two peers:

loop     as published: one example at a time, steered prefill into a cache without gradient, question on that cache,
         cross-entropy on the two label logits, gradients accumulated over the 8; optimizer step.
batched  the best tuned form known to us: the 8 rows in one batch, the decoder body called without its head on the context
         pass, only the last position through the head, made contiguous and two-dimensional first (torch's bf16 product on
         the CPU is several times slower on a strided or three-dimensional left side).

Shapes, token counts, steering and LoRA settings are those of workload.mjs; weights are random.
"""

import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.cache_utils import DynamicCache

ROWS, CONTEXT, QUESTION = 8, 42, 25
SHAPES = {
    "lab": dict(hidden_size=256, num_hidden_layers=12, num_attention_heads=8, num_key_value_heads=2, intermediate_size=704,
                vocab_size=4096, max_position_embeddings=1024),
    "0.5B": dict(hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864,
                 vocab_size=151936, max_position_embeddings=32768),
}


class Steering:
    """Adds a row's vector to the output of the blocks of the middle third; switched off outside the context pass."""

    def __init__(self, model, layers, hidden):
        self.push = None  # (rows, 1, hidden) or None
        third = layers // 3
        blocks = model.model.layers
        for layer in range(third, 2 * third):
            blocks[layer].register_forward_hook(self.hook)
        self.vectors = torch.randn(ROWS, 1, hidden) * 5 / hidden**0.5
        self.vectors[1::2] = 0

    def hook(self, _module, _inputs, output):
        if self.push is None:
            return output
        if isinstance(output, tuple):
            return (output[0] + self.push.to(output[0].dtype),) + output[1:]
        return output + self.push.to(output.dtype)


class Work:
    def __init__(self, kind, shape, dtype):
        torch.manual_seed(0)
        sizes = SHAPES[shape]
        base = Qwen2ForCausalLM(Qwen2Config(**sizes, tie_word_embeddings=True)).to(dtype)
        self.steering = Steering(base, sizes["num_hidden_layers"], sizes["hidden_size"])
        lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
        self.model = get_peft_model(base, lora)
        self.body = self.model.base_model.model.model
        self.head = self.model.base_model.model.lm_head
        trained = [p for p in self.model.parameters() if p.requires_grad]
        for p in trained:
            p.data = p.data.float()
        self.trained = trained
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5)
        self.context = torch.randint(0, sizes["vocab_size"], (ROWS, CONTEXT))
        self.question = torch.randint(0, sizes["vocab_size"], (ROWS, QUESTION))
        self.targets = (torch.arange(ROWS) + 1) % 2
        self.labels = torch.tensor([100, 101])
        self.kind = kind

    def last_logits(self, rows):
        """Steer, remove, ask: logits (rows, vocabulary) at the last question position."""
        cache = DynamicCache()
        with torch.no_grad():
            self.steering.push = self.steering.vectors[rows]
            if self.kind == "loop":
                self.model(input_ids=self.context[rows], past_key_values=cache, use_cache=True)
            else:
                self.body(input_ids=self.context[rows], past_key_values=cache, use_cache=True)
            self.steering.push = None
        if self.kind == "loop":
            return self.model(input_ids=self.question[rows], past_key_values=cache, use_cache=True).logits[:, -1]
        hidden = self.body(input_ids=self.question[rows], past_key_values=cache, use_cache=True).last_hidden_state
        return self.head(hidden[:, -1].contiguous())

    def batches(self):
        return [slice(i, i + 1) for i in range(ROWS)] if self.kind == "loop" else [slice(0, ROWS)]

    def train(self):
        self.model.train()
        for rows in self.batches():
            pair = self.last_logits(rows)[:, self.labels].float()
            loss = torch.nn.functional.cross_entropy(pair, self.targets[rows], reduction="sum") / ROWS
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def trial(self):
        self.model.eval()
        with torch.inference_mode():
            for rows in self.batches():
                with self.model.disable_adapter():
                    torch.log_softmax(self.last_logits(rows).float(), -1)[:, self.labels].sum().item()


def main():
    kind, shape, dtype, threads = sys.argv[1:5]
    torch.set_num_threads(int(threads))
    work = Work(kind, shape, torch.bfloat16 if dtype == "bf16" else torch.float32)
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        getattr(work, line.strip())()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
