import { it } from "vitest";
import { openModel, loadTokenizer } from "./kernel-lib/src/index";
it("x", async () => {
  for (const dtype of ["f32","bf16"] as const) {
  let t = performance.now();
  const m = await openModel("/tmp/real/model.gguf", { dtype });
  console.log(dtype, "open", performance.now() - t, String(m.name), m.hash.slice(0, 8));
  t = performance.now();
  console.log(await m.sample([{ role: "user", content: "Write a haiku about rivers." }], { maxTokens: 30, seed: 1, temperature: 0 }), performance.now() - t);
  console.log(m.tokenizer.labelTokens("The answer is", [" yes", " no"]), process.memoryUsage().rss/1e9);
  m.dispose();
  }
  let t = performance.now(); loadTokenizer("/tmp/real/model.gguf"); console.log("tok gguf", performance.now()-t);
  t = performance.now(); loadTokenizer("/tmp/real/hf"); console.log("tok hf", performance.now()-t);
}, 200000);
