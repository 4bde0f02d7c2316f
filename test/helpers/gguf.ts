/** GGUF files for tests, byte by byte, so that every field can be wrong; and a whole one-layer Qwen2 of zeros. */

type Kind = "u8" | "u32" | "i32" | "f32" | "bool" | "string" | "array" | "u64";
const KINDS: Record<Kind, number> = { u8: 0, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10 };

export type Value = string | number | boolean | readonly string[] | readonly number[] | { kind: Kind; value: number };

export interface TensorBytes {
  name: string;
  /** row-major */
  shape: readonly number[];
  /** the file's number of a tensor type; 0 = f32 */
  type?: number;
  bytes: number;
  /** default: after the tensor before, aligned to 32 */
  offset?: number;
}

export interface GgufParts {
  magic?: string;
  version?: number;
  metadata?: readonly (readonly [key: string, value: Value])[];
  tensors?: readonly TensorBytes[];
  tensorCount?: number;
  pairCount?: number;
  /** bytes of the data section; default: what the tensors need */
  dataBytes?: number;
}

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
export const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
export const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const f32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
};

function valueBytes(value: Value): Buffer {
  if (typeof value === "string") return Buffer.concat([u32(KINDS.string), text(value)]);
  if (typeof value === "boolean") return Buffer.concat([u32(KINDS.bool), Buffer.from([value ? 1 : 0])]);
  if (typeof value === "number") return Buffer.concat([u32(KINDS.u32), u32(value)]);
  if (Array.isArray(value)) {
    const texts = typeof value[0] === "string";
    const items = value.map((item) => (texts ? text(item as string) : u32(item as number)));
    return Buffer.concat([u32(KINDS.array), u32(texts ? KINDS.string : KINDS.u32), u64(value.length), ...items]);
  }
  const { kind, value: number } = value as { kind: Kind; value: number };
  const bytes =
    kind === "f32" ? f32(number) : kind === "u64" ? u64(number) : kind === "u8" ? Buffer.from([number]) : u32(number);
  return Buffer.concat([u32(KINDS[kind]), bytes]);
}

export function ggufBytes(parts: GgufParts): Buffer {
  const { metadata = [], tensors = [] } = parts;
  const head: Buffer[] = [
    Buffer.from(parts.magic ?? "GGUF"),
    u32(parts.version ?? 3),
    u64(parts.tensorCount ?? tensors.length),
    u64(parts.pairCount ?? metadata.length),
    ...metadata.flatMap(([key, value]) => [text(key), valueBytes(value)]),
  ];
  let end = 0;
  for (const { name, shape, type = 0, bytes, offset = Math.ceil(end / 32) * 32 } of tensors) {
    head.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(type), u64(offset));
    end = offset + bytes;
  }
  const start = Buffer.concat(head);
  const padding = Buffer.alloc((32 - (start.length % 32)) % 32);
  return Buffer.concat([start, padding, Buffer.alloc(parts.dataBytes ?? end)]);
}

/** C 8, one layer, 2 heads, tied head, 6 tokens; `change` replaces (or with undefined removes) metadata. */
export function tinyQwen2(
  change: Record<string, Value | undefined> = {},
  tensors: (all: TensorBytes[]) => TensorBytes[] = (all) => all,
): GgufParts {
  const metadata: Record<string, Value | undefined> = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 1,
    "qwen2.context_length": 64,
    "qwen2.embedding_length": 8,
    "qwen2.feed_forward_length": 16,
    "qwen2.attention.head_count": 2,
    "qwen2.attention.head_count_kv": 1,
    "qwen2.rope.freq_base": { kind: "f32", value: 1e6 },
    "qwen2.attention.layer_norm_rms_epsilon": { kind: "f32", value: 1e-6 },
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "<|im_start|>", "<|im_end|>", "<|endoftext|>"],
    "tokenizer.ggml.token_type": [1, 1, 1, 3, 3, 3],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.eos_token_id": 4,
    ...change,
  };
  const f = (name: string, ...shape: number[]): TensorBytes => ({
    name,
    shape,
    bytes: 4 * shape.reduce((product, dimension) => product * dimension, 1),
  });
  const all = [
    f("token_embd.weight", 6, 8),
    f("output_norm.weight", 8),
    f("blk.0.attn_norm.weight", 8),
    f("blk.0.attn_q.weight", 8, 8),
    f("blk.0.attn_q.bias", 8),
    f("blk.0.attn_k.weight", 4, 8),
    f("blk.0.attn_k.bias", 4),
    f("blk.0.attn_v.weight", 4, 8),
    f("blk.0.attn_v.bias", 4),
    f("blk.0.attn_output.weight", 8, 8),
    f("blk.0.ffn_norm.weight", 8),
    f("blk.0.ffn_gate.weight", 16, 8),
    f("blk.0.ffn_up.weight", 16, 8),
    f("blk.0.ffn_down.weight", 8, 16),
  ];
  return {
    metadata: Object.entries(metadata).filter((pair): pair is [string, Value] => pair[1] !== undefined),
    tensors: tensors(all),
  };
}
