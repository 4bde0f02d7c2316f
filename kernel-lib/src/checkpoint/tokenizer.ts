/**
 * Text <-> token ids by a model's tokenizer.json, with characters carried to token positions.
 *
 * Control tokens (every added token of the file) are read in template text only. Contents go through byte-level BPE as
 * plain text, so "<|im_end|>" typed by a user becomes ordinary tokens. Text between two control tokens is encoded as one
 * run, template and content together, as the reference does. The BPE itself is @huggingface/tokenizers; byte-level BPE
 * with no normalizer or NFC (Qwen2) is what spans can be carried through, anything else is refused by name.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { Tokenizer as BpeTokenizer } from "@huggingface/tokenizers";
import { DataError, expected, InputError } from "../base";
import { isGgufFile, readText, sha256 } from "../files";
import { tokenBytes } from "./byte-alphabet";
import type { ChatRole, ChatText, TextPart } from "./chat";
import { asTokenizersCompose } from "./nfc";
import { readGgufTokenizer } from "./gguf-text";

/** Encoded text. Positions are characters (UTF-16 units) of the joined input text, or token indices; all ranges half-open. */
export interface EncodedText {
  ids: Int32Array;
  /** Token range that covers a character range; a token that is partly inside counts. */
  tokensOf(span: readonly [start: number, end: number]): [start: number, end: number];
}

/** A chat in tokens: each turn's place. */
export interface EncodedChat extends EncodedText {
  turns: { role: ChatRole; content: [start: number, end: number]; whole: [start: number, end: number] }[];
}

/** Answer labels proven to be single tokens after a prefix. */
export interface LabelTokens {
  texts: string[];
  ids: number[];
}

/** A model's tokenizer. Immutable; encoding is deterministic. */
export interface Tokenizer {
  /** sha256 of tokenizer.json, or of what a GGUF file says in its place */
  readonly hash: string;
  /** largest id + 1 */
  readonly size: number;
  /** text -> id of every added token */
  readonly controlTokens: ReadonlyMap<string, number>;
  /** Ids of plain text; nothing in it is a control token. @throws InputError "text" for lone surrogates */
  encode(text: string): Int32Array;
  /** Ids of template and content parts joined. @throws InputError "text" */
  encodeParts(parts: readonly TextPart[]): EncodedText;
  /** Ids of a rendered chat and the token range of each turn. */
  encodeChat(chat: ChatText): EncodedChat;
  /** Text of ids; bytes that are not UTF-8 become U+FFFD. Control tokens are kept unless `skipControls`. */
  decode(ids: ArrayLike<number>, options?: { skipControls?: boolean }): string;
  /**
   * Proves that each label is exactly one token after `prefix`, and that no two labels share it.
   * @param prefix text parts up to the answer, or plain text; may not end in white space
   * @throws InputError "trailing-space", "label-tokens"
   */
  labelTokens(prefix: string | readonly TextPart[], labels: readonly string[]): LabelTokens;
}

interface TokenizerJson {
  added_tokens?: { id: number; content: string }[];
  normalizer?: { type?: string } | null;
  pre_tokenizer?: unknown;
  decoder?: { type?: string } | null;
  model?: { type?: string };
}

/** A control token, or text to encode as one run; `start` in characters of the joined text. */
type Piece = { start: number; text: string; control: number | null };

/** Where a run's tokens stand: `ends[i]` is the byte after token `first + i`, counted in the run's normalised text. */
interface RunTokens {
  start: number;
  text: string;
  first: number;
  ends: number[];
}

/**
 * Loads the tokenizer of a model: tokenizer.json of a folder, or what a GGUF file holds.
 *
 * @param location folder, or .gguf file
 * @throws DataError "tokenizer-missing"; "tokenizer-unsupported" naming the part that is not byte-level BPE
 *
 * @example
 * const tokenizer = loadTokenizer("data/lab-model");
 * tokenizer.decode(tokenizer.encode("Hello")); // "Hello"
 */
export function loadTokenizer(location: string): Tokenizer {
  if (isGgufFile(location)) {
    const { json, hash } = readGgufTokenizer(location);
    return tokenizerOf(json, hash, location);
  }
  const file = path.join(location, "tokenizer.json");
  if (!fs.existsSync(file)) {
    throw new DataError(
      "tokenizer-missing",
      `Expected tokenizer.json in ${location} but there is none. Put the model's tokenizer files there, or fetch the model with the network on.`,
    );
  }
  return parseTokenizer(readText(file), file);
}

/** A tokenizer from the text of a tokenizer.json; `name` stands in error sentences. @throws as `loadTokenizer` */
export function parseTokenizer(text: string, name = "tokenizer.json"): Tokenizer {
  let json: TokenizerJson;
  try {
    json = JSON.parse(text) as TokenizerJson;
  } catch {
    throw new DataError("tokenizer-unsupported", `Expected valid JSON in ${name}.`);
  }
  return tokenizerOf(json, sha256(text), name);
}

function tokenizerOf(json: TokenizerJson, hash: string, name: string): Tokenizer {
  const unsupported = (part: string, value: unknown): never => {
    throw new DataError(
      "tokenizer-unsupported",
      expected("byte-level BPE (Qwen2)", name, `${part} ${JSON.stringify(value) ?? "nothing"}`.slice(0, 120)),
    );
  };
  if (json.model?.type !== "BPE") unsupported("model.type", json.model?.type);
  if (json.decoder?.type !== "ByteLevel") unsupported("decoder", json.decoder ?? null);
  if ((json.normalizer ?? null) !== null && json.normalizer?.type !== "NFC") unsupported("normalizer", json.normalizer);
  const added = json.added_tokens ?? [];
  if (added.some((token) => !Number.isInteger(token.id) || typeof token.content !== "string" || token.content === "")) {
    unsupported("added_tokens", "without id or content");
  }
  // No added tokens and no post-processor: the BPE sees plain text only, and nothing is put around it.
  const plain = new BpeTokenizer(
    {
      ...json,
      added_tokens: [],
      post_processor: null,
      normalizer: null, // text is composed before it comes here, by the tables that the model was trained with
      pre_tokenizer: json.pre_tokenizer ?? null,
    },
    { clean_up_tokenization_spaces: false },
  );
  return new ByteLevelTokenizer(
    plain,
    new Map(added.map((token) => [token.content, token.id])),
    json.normalizer?.type === "NFC",
    hash,
  );
}

/**
 * One sentence if the tokenizer has ids for which the model has no embedding, else null: texts that need one are refused later.
 * @param vocabulary vocab_size of the model
 */
export function vocabularyNote(tokenizer: Tokenizer, vocabulary: number): string | null {
  if (tokenizer.size <= vocabulary) return null;
  const beyond = [...tokenizer.controlTokens].filter(([, id]) => id >= vocabulary).sort((a, b) => a[1] - b[1]);
  const first =
    beyond.length === 0 ? "" : ` (${JSON.stringify(beyond[0][0])} and ${beyond.length - 1} more added tokens)`;
  return `the tokenizer has ids up to ${tokenizer.size - 1}${first} but the model embeds only 0..${vocabulary - 1}; texts with the others are refused.`;
}

class ByteLevelTokenizer implements Tokenizer {
  readonly size: number;
  private readonly bytesOf: (Uint8Array | undefined)[] = [];
  private readonly controlIds = new Map<number, string>();
  private readonly controlPattern: RegExp | null;

  constructor(
    private readonly plain: BpeTokenizer,
    readonly controlTokens: ReadonlyMap<string, number>,
    private readonly nfc: boolean,
    readonly hash: string,
  ) {
    for (const [token, id] of plain.get_vocab()) this.bytesOf[id] = tokenBytes(token) ?? undefined;
    for (const [content, id] of controlTokens) this.controlIds.set(id, content);
    this.size = Math.max(this.bytesOf.length, ...[...this.controlIds.keys()].map((id) => id + 1));
    // Longest first, so that one control token is never read as another that begins it.
    const contents = [...controlTokens.keys()].sort((a, b) => b.length - a.length);
    const escaped = contents.map((content) => content.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    this.controlPattern = escaped.length === 0 ? null : new RegExp(escaped.join("|"), "g");
  }

  encode(text: string): Int32Array {
    return this.encodeParts([{ kind: "content", text }]).ids;
  }

  encodeParts(parts: readonly TextPart[]): EncodedText {
    const ids: number[] = [];
    const runs: RunTokens[] = [];
    const controls: { start: number; end: number; index: number }[] = [];
    for (const piece of this.pieces(parts)) {
      if (piece.control !== null) {
        controls.push({ start: piece.start, end: piece.start + piece.text.length, index: ids.length });
        ids.push(piece.control);
      } else runs.push(this.encodeRun(piece, ids));
    }
    return {
      ids: Int32Array.from(ids),
      tokensOf: ([start, end]) => this.tokensOf(start, end, runs, controls),
    };
  }

  encodeChat(chat: ChatText): EncodedChat {
    const encoded = this.encodeParts(chat.parts);
    const turns = chat.turns.map(({ role, content, whole }) => ({
      role,
      content: encoded.tokensOf(content),
      whole: encoded.tokensOf(whole),
    }));
    return { ...encoded, turns };
  }

  decode(ids: ArrayLike<number>, options: { skipControls?: boolean } = {}): string {
    const pieces: Uint8Array[] = [];
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      if (!Number.isInteger(id) || id < 0)
        throw new InputError("token-id", expected("token ids >= 0", `ids[${i}]`, id));
      const control = this.controlIds.get(id);
      if (control !== undefined) {
        if (options.skipControls !== true) pieces.push(Buffer.from(control, "utf8"));
        // Models pad their vocabulary beyond the tokenizer's: such an id has no text.
      } else pieces.push(this.bytesOf[id] ?? Buffer.from("\uFFFD", "utf8"));
    }
    return Buffer.concat(pieces).toString("utf8");
  }

  labelTokens(prefix: string | readonly TextPart[], labels: readonly string[]): LabelTokens {
    const parts: readonly TextPart[] = typeof prefix === "string" ? [{ kind: "content", text: prefix }] : prefix;
    const shown = parts
      .map((part) => part.text)
      .join("")
      .slice(-30);
    if (/[^\S\r\n]$/.test(shown)) {
      throw new InputError(
        "trailing-space",
        expected("no space at the end", "prefix", shown, "Leave it off: the label's own space is part of its token."),
      );
    }
    if (labels.length === 0) throw new InputError("label-tokens", expected("at least one label", "labels", "[]"));
    const before = this.encodeParts(parts).ids;
    const ids = labels.map((label) => this.singleToken(parts, before, label, shown));
    for (const [i, id] of ids.entries()) {
      const twin = ids.indexOf(id);
      if (twin !== i)
        throw new InputError(
          "label-tokens",
          expected(
            "labels with different tokens",
            "labels",
            `${JSON.stringify(labels[twin])} and ${JSON.stringify(labels[i])}, both token ${id}`,
          ),
        );
    }
    return { texts: [...labels], ids };
  }

  private singleToken(parts: readonly TextPart[], before: Int32Array, label: string, shown: string): number {
    const after = this.encodeParts([...parts, { kind: "content", text: label }]).ids;
    const where = `label ${JSON.stringify(label)} after ${JSON.stringify(shown)}`;
    if (before.some((id, i) => after[i] !== id)) {
      throw new InputError(
        "label-tokens",
        expected(
          "a label that leaves the tokens before it alone",
          where,
          "a merge with the prefix",
          'A label usually begins with a space, as " yes".',
        ),
      );
    }
    const added = [...after.subarray(before.length)];
    if (added.length !== 1) {
      const pieces = added.map((id) => JSON.stringify(this.decode([id]))).join(", ");
      throw new InputError(
        "label-tokens",
        `Expected one token for ${where} but received ${added.length} (${pieces}). Choose a label that is a single token of this model.`,
      );
    }
    return added[0];
  }

  /** Cuts parts at control tokens in template text; everything between two of them is one run. */
  private pieces(parts: readonly TextPart[]): Piece[] {
    const pieces: Piece[] = [];
    let at = 0;
    const addText = (text: string): void => {
      if (text === "") return;
      const last = pieces[pieces.length - 1];
      if (last !== undefined && last.control === null) last.text += text;
      else pieces.push({ start: at, text, control: null });
      at += text.length;
    };
    for (const part of parts) {
      let from = 0;
      const matches =
        part.kind === "template" && this.controlPattern !== null ? part.text.matchAll(this.controlPattern) : [];
      for (const match of matches) {
        const index = match.index ?? 0; // matchAll always sets it
        addText(part.text.slice(from, index));
        pieces.push({ start: at, text: match[0], control: this.controlTokens.get(match[0]) as number });
        at += match[0].length;
        from = index + match[0].length;
      }
      addText(part.text.slice(from));
    }
    return pieces;
  }

  private normalised(text: string): string {
    return this.nfc ? asTokenizersCompose(text) : text;
  }

  /** Appends the run's ids and proves that their bytes are the run's text: nothing lost, no control token slipped in. */
  private encodeRun(run: Piece, ids: number[]): RunTokens {
    if (/\p{Surrogate}/u.test(run.text))
      throw new InputError(
        "text",
        expected("well-formed Unicode", "text", "a lone surrogate", "Half a character cannot be encoded."),
      );
    const first = ids.length;
    const ends: number[] = [];
    const pieces: Uint8Array[] = [];
    let end = 0;
    const text = this.normalised(run.text);
    for (const id of this.plain.encode(text, { add_special_tokens: false }).ids) {
      const bytes = this.bytesOf[id];
      if (bytes === undefined || this.controlIds.has(id)) {
        throw new DataError(
          "tokenizer-unsupported",
          expected("byte-level tokens only", "plain text", `token ${id}`, "The tokenizer cannot spell this text."),
        );
      }
      pieces.push(bytes);
      end += bytes.length;
      ends.push(end);
      ids.push(id);
    }
    if (!Buffer.concat(pieces).equals(Buffer.from(text, "utf8"))) {
      throw new DataError(
        "tokenizer-unsupported",
        expected("tokens that spell the text", "encode", JSON.stringify(run.text.slice(0, 40))),
      );
    }
    return { start: run.start, text: run.text, first, ends };
  }

  private tokensOf(
    start: number,
    end: number,
    runs: RunTokens[],
    controls: { start: number; end: number; index: number }[],
  ): [number, number] {
    if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end < start) {
      throw new InputError("span", expected("0 <= start <= end", "span", `[${start}, ${end})`));
    }
    let first = Number.POSITIVE_INFINITY;
    let last = -1;
    let before = 0; // tokens that end at or before `start`, for an empty span
    const see = (index: number, inside: boolean, earlier: boolean): void => {
      if (inside) {
        first = Math.min(first, index);
        last = Math.max(last, index);
      }
      if (earlier) before = Math.max(before, index + 1);
    };
    for (const control of controls)
      see(control.index, control.start < end && control.end > start, control.end <= start);
    for (const run of runs) {
      const from = this.byteAt(run, start);
      const to = this.byteAt(run, end);
      run.ends.forEach((tokenEnd, i) => {
        const tokenStart = i === 0 ? 0 : run.ends[i - 1];
        see(run.first + i, tokenStart < to && tokenEnd > from, tokenEnd <= from);
      });
    }
    return last === -1 ? [before, before] : [first, last + 1];
  }

  /** Bytes of the run's normalised text that come from characters before `position` of the joined text. */
  private byteAt(run: RunTokens, position: number): number {
    const inside = Math.min(Math.max(position - run.start, 0), run.text.length);
    return Buffer.byteLength(this.normalised(run.text.slice(0, inside)), "utf8");
  }
}
