"""Checks an exported file with the onnx package and runs it with Python's onnxruntime.

usage: check_export.py MODEL.onnx REQUEST.json
REQUEST: {"context": ids, "question": ids, "direction": numbers, "layers": [start, end], "magnitude": x, "span": [start, end]}
Prints {"runtime": version, "clean": logits, "asked": logits}: after the plain context, and after the question asked on the
cache of the steered context. Written against the file's metadata alone, as a stranger to the library would.
"""

import json
import sys

import numpy
import onnx
import onnxruntime


def main(path, request):
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path, load_external_data=False)
    assert {node.domain for node in model.graph.node} <= {""}, "an operator outside the standard set"
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    config = json.loads(metadata["steerlab.config"])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    run = Runner(session, config)

    clean, _ = run(request["context"], None, run.no_steering())
    start, end = request["layers"]
    first, last = request["span"]
    weights = numpy.zeros((config["num_hidden_layers"], 1, len(request["context"]), 1), numpy.float32)
    weights[start:end, 0, first:last, 0] = request["magnitude"]
    vectors = numpy.asarray(request["direction"], numpy.float32)[None, None]
    _, cache = run(request["context"], None, {"steering_vectors": vectors, "steering_weights": weights})
    asked, _ = run(request["question"], cache, run.no_steering())
    print(json.dumps({"runtime": onnxruntime.__version__, "clean": clean.tolist(), "asked": asked.tolist()}))


class Runner:
    def __init__(self, session, config):
        self.session = session
        self.config = config
        self.outputs = [output.name for output in session.get_outputs()]
        self.rank = 1

    def no_steering(self):
        layers, width = self.config["num_hidden_layers"], self.config["hidden_size"]
        return {
            "steering_vectors": numpy.zeros((1, 1, width), numpy.float32),
            "steering_weights": numpy.zeros((layers, 1, 1, 1), numpy.float32),
        }

    def no_adapter(self):
        """Zeros with r = 1, for the inputs that an export without a built-in adapter has."""
        inputs = [i for i in self.session.get_inputs() if i.name.startswith("lora_")]
        return {i.name: numpy.zeros([n if isinstance(n, int) else self.rank for n in i.shape], numpy.float32) for i in inputs}

    def __call__(self, ids, cache, steering):
        """Logits after the last token, and the cache with these tokens appended."""
        heads, size = self.config["num_key_value_heads"], self.config["head_dim"]
        empty = numpy.zeros((1, heads, 0, size), numpy.float32)
        names = [f"{kind}.{layer}" for layer in range(self.config["num_hidden_layers"]) for kind in ("key", "value")]
        cache = cache or {name: empty for name in names}
        past = cache["key.0"].shape[2]
        feeds = {
            "input_ids": numpy.asarray([ids], numpy.int64),
            "positions": numpy.arange(past, past + len(ids), dtype=numpy.int64)[None],
            "past_lengths": numpy.asarray([past], numpy.int64),
            "logit_rows": numpy.asarray([len(ids) - 1], numpy.int64),
            "hidden_rows": numpy.zeros(0, numpy.int64),
            **{f"past_{name}": values for name, values in cache.items()},
            **steering,
            **self.no_adapter(),
        }
        out = dict(zip(self.outputs, self.session.run(None, feeds)))
        joined = {name: numpy.concatenate([cache[name], out[f"new_{name}"]], axis=2) for name in names}
        return out["logits"][0], joined


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as file:
        main(sys.argv[1], json.load(file))
