/** Writes a checkpoint folder of random bf16 weights tensor by tensor, so that engines which read files can be measured and tested. */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { modelTensors } = createRequire(import.meta.url)("../../kernel-lib/dist/checkpoint/index.js");

/** Values repeat with a prime period: as good as random for a forward pass, and written in seconds. */
const PERIOD = 1000003;
const ONE_BF16 = 0x3f80;
const CHUNK_BYTES = 1 << 26;

/** bf16 bits of uniform numbers within 0.035 of 0 (standard deviation 0.02), from a small multiplicative generator. */
function pool() {
  let state = 1;
  const floats = Float32Array.from({ length: PERIOD }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 4294967296 - 0.5) * 0.07;
  });
  return Uint16Array.from(new Uint32Array(floats.buffer), (bits) => bits >>> 16);
}

/** Writes config.json and model.safetensors of `config` to `folder`; gives the folder. */
export function writeRandomCheckpoint(folder, config) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, model_type: "qwen2", hidden_act: "silu" }));
  const tensors = modelTensors(config).map(({ name, shape }) => ({
    name,
    shape,
    count: shape.reduce((a, b) => a * b, 1),
  }));
  const header = {};
  let end = 0;
  for (const { name, shape, count } of tensors) {
    header[name] = { dtype: "BF16", shape, data_offsets: [end, end + 2 * count] };
    end += 2 * count;
  }
  const text = JSON.stringify(header);
  const head = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, " ");
  head.writeBigUInt64LE(BigInt(head.length - 8), 0);
  head.write(text, 8);
  const file = openSync(join(folder, "model.safetensors"), "w");
  const values = pool();
  try {
    writeSync(file, head);
    let at = 0;
    for (const { name, count } of tensors) {
      const bits = new Uint16Array(count);
      if (name.endsWith("norm.weight")) bits.fill(ONE_BF16);
      else for (let i = 0; i < count; i++) bits[i] = values[(at + i) % PERIOD];
      at += count;
      const bytes = Buffer.from(bits.buffer);
      for (let done = 0; done < bytes.length; )
        done += writeSync(file, bytes, done, Math.min(CHUNK_BYTES, bytes.length - done));
    }
  } finally {
    closeSync(file);
  }
  return folder;
}
