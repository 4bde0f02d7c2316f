/**
 * Tokenizer and chat template out of a GGUF file, in the form of the files of a Hugging Face folder.
 *
 * Byte-level BPE (tokenizer.ggml.model gpt2) with Qwen2's pre-tokenisation, without a normaliser, as llama.cpp and transformers
 * read such files: text that is not in NFC gets other ids than from the original folder, whose tokenizer.json composes it first.
 * Token types: 3 control and 4 user-defined are added tokens; all others are ordinary vocabulary.
 */
import { DataError, expected } from "../base";
import { contentHash, readGguf } from "../files";

/** What a file's text side comes to; `json` has the form of a tokenizer.json. */
export interface GgufTokenizer {
  json: Record<string, unknown>;
  /** sha256 over tokens, types, merges and pre-tokenisation */
  hash: string;
  /** texts of the added tokens */
  controlTokens: string[];
}

const QWEN2_SPLIT =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Names of pre-tokenisations that split as Qwen2's. */
const QWEN2_PRE = ["qwen2", "deepseek-r1-qwen"];

const CONTROL = 3;
const USER_DEFINED = 4;

/** @throws DataError "tokenizer-missing", "tokenizer-unsupported" naming the key, and the codes of `readGguf` */
export function readGgufTokenizer(file: string): GgufTokenizer {
  const { metadata } = readGguf(file);
  const value = (key: string): unknown => metadata.get(`tokenizer.ggml.${key}`);
  if (value("tokens") === undefined)
    throw new DataError(
      "tokenizer-missing",
      `Expected a tokenizer (tokenizer.ggml.tokens) in ${file} but there is none.`,
    );
  const only = (key: string, wanted: readonly string[]): void => {
    if (!wanted.includes(value(key) as string)) unsupported(file, key, wanted.join(" or "), value(key));
  };
  only("model", ["gpt2"]);
  only("pre", QWEN2_PRE);
  const tokens = texts(file, "tokens", value("tokens"));
  const merges = texts(file, "merges", value("merges"));
  const types = value("token_type");
  if (!Array.isArray(types) || types.length !== tokens.length)
    unsupported(file, "token_type", `${tokens.length} numbers`, Array.isArray(types) ? types.length : types);
  const added = tokens
    .map((content, id) => ({ id, content, special: types[id] === CONTROL }))
    .filter(({ id }) => types[id] === CONTROL || types[id] === USER_DEFINED);
  return {
    json: {
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: QWEN2_SPLIT }, behavior: "Isolated", invert: false },
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      },
      decoder: { type: "ByteLevel" },
      model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
    },
    hash: contentHash({ pre: "qwen2", tokens, types, merges }),
    controlTokens: added.map(({ content }) => content),
  };
}

function unsupported(file: string, key: string, wanted: string, received: unknown): never {
  throw new DataError(
    "tokenizer-unsupported",
    expected(wanted, `tokenizer.ggml.${key} in ${file}`, String(received ?? "nothing").slice(0, 60)),
  );
}

function texts(file: string, key: string, value: unknown): string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  return unsupported(file, key, "a list of texts", value);
}

/** Chat templates by name ("default" for the unnamed one) and the special tokens that they may write. */
export interface TemplateSource {
  templates: Map<string, string>;
  controlTokens: string[];
  bosToken: string | null;
  eosToken: string | null;
}

const TEMPLATE = "tokenizer.chat_template";

export function readGgufTemplates(file: string): TemplateSource {
  const { metadata } = readGguf(file, { skip: ["tokenizer.ggml.merges"] });
  const templates = new Map<string, string>();
  for (const [key, value] of metadata) {
    if (typeof value !== "string") continue;
    if (key === TEMPLATE) templates.set("default", value);
    else if (key.startsWith(`${TEMPLATE}.`)) templates.set(key.slice(TEMPLATE.length + 1), value);
  }
  const tokens = (metadata.get("tokenizer.ggml.tokens") ?? []) as unknown[];
  const types = (metadata.get("tokenizer.ggml.token_type") ?? []) as unknown[];
  const tokenOf = (key: string): string | null => {
    const text = tokens[metadata.get(`tokenizer.ggml.${key}`) as number];
    return typeof text === "string" ? text : null;
  };
  return {
    templates,
    controlTokens: tokens.filter((_, id) => types[id] === CONTROL || types[id] === USER_DEFINED) as string[],
    bosToken: tokenOf("bos_token_id"),
    eosToken: tokenOf("eos_token_id"),
  };
}
