"""Byte-level BPE with Qwen2's pre-tokenization, trained on our own corpus, saved in Qwen2.5's layout.

Reads corpus.py, writes tokenizer.json and tokenizer_config.json (chat template inside). The regex is Qwen2's published
pre-tokenizer (each digit alone). ChatML tokens come after the base vocabulary, as in Qwen2.5.
"""
import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Qwen2TokenizerFast

import corpus

VOCAB = 4096
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN2_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
REQUIRED = [" yes", " no", " Yes", " No", "Yes", "No", "yes", "no", "As", " A", " B", " true", " false", *"0123456789"]
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def train(out, documents=30000, seed=7):
    rng = random.Random(seed)

    def texts():
        for _ in range(documents):
            text = corpus.text_of(corpus.document(rng))
            for token in SPECIAL:
                text = text.replace(token, "\n")
            yield text
        # the answer words in every spelling, often enough to be merged early
        yield " ".join(["yes", "no", "Yes", "No", "true", "false", "A", "B"] * 2000) + "\n"
        for word in ("yes\n", "no\n", "Yes\n", "No\n", "As\n"):
            yield word * 2000

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(SPECIAL), min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    for text in REQUIRED:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if len(ids) != 1:
            raise SystemExit(f"Expected one token for {text!r} but received {ids}. Raise its frequency in train_tokenizer.py.")
    fast = Qwen2TokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None, bos_token=None,
                              model_max_length=1024, clean_up_tokenization_spaces=False, add_bos_token=False, errors="replace")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(out)
    # transformers 5 writes the template beside; older readers look for it inside tokenizer_config.json
    path = Path(out) / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = CHAT_TEMPLATE
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    (Path(out) / "chat_template.jinja").unlink(missing_ok=True)


if __name__ == "__main__":
    import sys
    train(sys.argv[1])
