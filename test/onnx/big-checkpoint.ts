/** A random bf16 checkpoint of the 0.5B shape (1 GB), written tensor by tensor. */
import * as fs from "node:fs";
import * as path from "node:path";
import { modelTensors } from "../../kernel-lib/src/checkpoint";
import { random } from "../../kernel-lib/src/random";
import { floatToBfloat } from "../../kernel-lib/src/safetensors";
import { qwen2Shape } from "../../kernel-lib/src/shapes";

/** Values repeat with a prime period: as good as random for a forward pass, and written in seconds. */
const PERIOD = 1_000_003;

export function writeBigCheckpoint(folder: string): string {
  const config = qwen2Shape("0.5B");
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "config.json"), JSON.stringify({ ...config, model_type: "qwen2", hidden_act: "silu" }));
  const rng = random(7);
  const pool = Uint16Array.from({ length: PERIOD }, () => floatToBfloat(0.02 * rng.normal()));
  let end = 0;
  const header = Object.fromEntries(
    modelTensors(config).map(({ name, shape }) => {
      const start = end;
      end += 2 * shape.reduce((a, b) => a * b, 1);
      return [name, { dtype: "BF16", shape, data_offsets: [start, end] }];
    }),
  );
  const text = JSON.stringify(header);
  const head = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, " ");
  head.writeBigUInt64LE(BigInt(head.length - 8), 0);
  head.write(text, 8);
  const handle = fs.openSync(path.join(folder, "model.safetensors"), "w");
  fs.writeSync(handle, head);
  let at = 0;
  for (const { name, shape } of modelTensors(config)) {
    const count = shape.reduce((a, b) => a * b, 1);
    const values = new Uint16Array(count);
    if (name.endsWith("norm.weight")) values.fill(floatToBfloat(1));
    else for (let i = 0; i < count; i++) values[i] = pool[(at + i) % PERIOD];
    at += count;
    const bytes = Buffer.from(values.buffer);
    for (let done = 0; done < bytes.length; ) done += fs.writeSync(handle, bytes, done, Math.min(1 << 26, bytes.length - done));
  }
  fs.closeSync(handle);
  return folder;
}
