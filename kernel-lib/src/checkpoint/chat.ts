/**
 * A conversation as text by the model's own chat template, with the place of every turn in that text.
 *
 * The template is rendered with a stand-in for each content, and the contents are put in afterwards: what a user writes
 * cannot reach the template's logic, and the result says which characters are template and which are content, so that the
 * tokenizer reads control tokens in the former only. A second rendering with the real contents must give the same text.
 * Two system prompts, a system prompt in the middle and a turn left open by accident are errors, not surprises.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { Template } from "@huggingface/jinja";
import { DataError, expected, InputError } from "../base";
import { isGgufFile, readText, sha256 } from "../files";
import { readGgufTemplates, type TemplateSource } from "./gguf-text";

export type ChatRole = "system" | "user" | "assistant";

/** One thing said. */
export interface ChatTurn {
  role: ChatRole;
  content: string;
}

/** A stretch of text and who wrote it: control tokens count in "template" only. */
export interface TextPart {
  kind: "template" | "content";
  text: string;
}

/** Where a turn stands in the text; half-open character ranges (UTF-16 units, as in JavaScript strings). */
export interface TurnSpan {
  role: ChatRole;
  /** the content alone */
  content: readonly [start: number, end: number];
  /** the turn with its header, end-of-turn and what follows it up to the next turn */
  whole: readonly [start: number, end: number];
}

/** A rendered conversation. `parts` joined are `text`. */
export interface ChatText {
  text: string;
  parts: TextPart[];
  /** one per turn, and one more for an answer left open by `answerPrefix` */
  turns: TurnSpan[];
  /** system text that the template put in because the conversation has none; null if it did not */
  injectedSystem: string | null;
}

/** A model's chat template, ready to render. */
export interface ChatTemplate {
  source: string;
  /** sha256 of the source, for run records */
  hash: string;
  /** texts of the tokenizer's added tokens, which end turns */
  controlTokens: readonly string[];
  bosToken: string | null;
  eosToken: string | null;
}

/**
 * Makes a template from its source.
 *
 * @param source Jinja text
 * @param controlTokens texts such as "<|im_end|>"; one of them must follow every content
 * @throws DataError "chat-template" if the source does not parse
 */
export function chatTemplate(
  source: string,
  controlTokens: readonly string[],
  special: { bosToken?: string | null; eosToken?: string | null } = {},
): ChatTemplate {
  try {
    new Template(source);
  } catch (cause) {
    throw new DataError("chat-template", `Expected a Jinja chat template but it does not parse: ${reason(cause)}.`, {
      cause,
    });
  }
  return {
    source,
    hash: sha256(source),
    controlTokens,
    bosToken: special.bosToken ?? null,
    eosToken: special.eosToken ?? null,
  };
}

/**
 * Loads a model's template: of a folder chat_template.jinja, else `chat_template` in tokenizer_config.json; or of a GGUF file.
 *
 * @param location folder, or .gguf file
 * @param name of one of several named templates; default: the unnamed one, or the one called "default"
 * @throws DataError "chat-template" if there is none, none of that name, or it does not parse
 */
export function loadChatTemplate(location: string, name = "default"): ChatTemplate {
  const { templates, controlTokens, bosToken, eosToken } = isGgufFile(location)
    ? readGgufTemplates(location)
    : readFolderTemplates(location);
  const source = templates.get(name);
  if (source !== undefined) return chatTemplate(source, controlTokens, { bosToken, eosToken });
  const names = [...templates.keys()].join(", ");
  const where = isGgufFile(location)
    ? `tokenizer.chat_template in ${location}`
    : `chat_template.jinja, or chat_template in tokenizer_config.json, in ${location}`;
  throw new DataError(
    "chat-template",
    templates.size === 0
      ? `Expected ${where} but found ${isGgufFile(location) ? "nothing" : "neither"}.`
      : `Expected a chat template called ${JSON.stringify(name)} in ${location} but received ${names}. Pick one by name: openModel(name, { chatTemplate: ${JSON.stringify([...templates.keys()][0])} }).`,
  );
}

/** chat_template.jinja is the default; additional_chat_templates/NAME.jinja and a list in the config are named. */
function readFolderTemplates(folder: string): TemplateSource {
  const configFile = path.join(folder, "tokenizer_config.json");
  const tokenizerFile = path.join(folder, "tokenizer.json");
  const fieldsOf = (file: string): Record<string, unknown> =>
    fs.existsSync(file) ? (JSON.parse(readText(file)) as Record<string, unknown>) : {};
  const config = fieldsOf(configFile);
  const templates = new Map<string, string>();
  const add = (name: unknown, template: unknown): void => {
    if (typeof name === "string" && typeof template === "string") templates.set(name, template);
  };
  if (Array.isArray(config.chat_template)) {
    for (const item of config.chat_template as { name?: unknown; template?: unknown }[])
      add(item?.name, item?.template);
  } else add("default", config.chat_template);
  const more = path.join(folder, "additional_chat_templates");
  for (const file of fs.existsSync(more) ? fs.readdirSync(more).sort() : []) {
    if (file.endsWith(".jinja")) add(file.slice(0, -".jinja".length), readText(path.join(more, file)));
  }
  const jinja = path.join(folder, "chat_template.jinja");
  if (fs.existsSync(jinja)) add("default", readText(jinja));
  const added = (fieldsOf(tokenizerFile).added_tokens ?? []) as { content: string }[];
  return {
    templates,
    controlTokens: added.map((token) => token.content),
    bosToken: tokenText(config.bos_token),
    eosToken: tokenText(config.eos_token),
  };
}

/** Special tokens stand in the config as text or as {content}. */
function tokenText(value: unknown): string | null {
  if (typeof value === "string") return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : null;
}

function checkConversation(turns: readonly ChatTurn[], answerPrefix: string | null): void {
  if (turns.length === 0) throw new InputError("chat-turns", expected("at least one turn", "turns", "none"));
  for (const [i, turn] of turns.entries()) {
    if (typeof turn.content !== "string")
      throw new InputError("chat-turns", expected("text", `turns[${i}].content`, typeof turn.content));
    if (turn.role === "system" && i > 0) {
      throw new InputError(
        "chat-turns",
        expected("one system turn, in first place,", "turns", `another at ${i}`, "Put all of it into one."),
      );
    }
    if (turn.role === "system") continue;
    const wanted: ChatRole = (i - (turns[0].role === "system" ? 1 : 0)) % 2 === 0 ? "user" : "assistant";
    if (turn.role !== wanted)
      throw new InputError(
        "chat-turns",
        expected(`role ${wanted}`, `turns[${i}]`, turn.role, "User and assistant take turns."),
      );
  }
  if (answerPrefix === null) return;
  if (turns[turns.length - 1].role !== "user") {
    throw new InputError(
      "chat-turns",
      expected("a user turn before the answer", "turns", `${turns[turns.length - 1].role} last`),
    );
  }
  if (/\s$/.test(answerPrefix)) {
    throw new InputError(
      "trailing-space",
      expected(
        "no white space at the end",
        "answerPrefix",
        answerPrefix,
        "The label's own space is part of its token.",
      ),
    );
  }
}

/** Private-use characters that no template contains; one stand-in per turn. */
const standIn = (turn: number): string => `\uE0F0${turn}\uE0F1`;

function render(template: ChatTemplate, turns: readonly ChatTurn[], open: boolean): string {
  try {
    return new Template(template.source).render({
      messages: turns.map(({ role, content }) => ({ role, content })),
      add_generation_prompt: open,
      bos_token: template.bosToken ?? "",
      eos_token: template.eosToken ?? "",
    });
  } catch (cause) {
    throw new DataError(
      "chat-template",
      `Expected the chat template to take this conversation but it refuses: ${reason(cause)}.`,
      { cause },
    );
  }
}

/**
 * Renders a conversation, and optionally opens the assistant's answer with a prefix.
 *
 * @param template from `loadChatTemplate`
 * @param turns system (optional, first), then user and assistant in turn
 * @param options.answerPrefix opens a last assistant turn holding this text ("" for an empty one); may not end in white space
 * @throws InputError "chat-turns", "trailing-space"; DataError "chat-template" if the template fails, rewrites a content,
 *   or leaves a turn without an end-of-turn token
 *
 * @example
 * const chat = renderChat(loadChatTemplate("data/lab-model"), [{ role: "user", content: "Hi" }], { answerPrefix: "The answer is" });
 * chat.text.slice(...chat.turns[0].content); // "Hi"
 */
export function renderChat(
  template: ChatTemplate,
  turns: readonly ChatTurn[],
  options: { answerPrefix?: string | null } = {},
): ChatText {
  const answerPrefix = options.answerPrefix ?? null;
  checkConversation(turns, answerPrefix);
  const blank = turns.map(({ role }, i) => ({ role, content: standIn(i) }));
  const open = answerPrefix !== null;
  const skeleton = render(template, blank, open);
  const chunks = splitAtStandIns(skeleton, turns.length);
  const parts: TextPart[] = [];
  const content: [number, number][] = [];
  let at = 0;
  const push = (kind: TextPart["kind"], text: string): void => {
    parts.push({ kind, text });
    at += text.length;
  };
  push("template", chunks[0]);
  for (const [i, turn] of turns.entries()) {
    content.push([at, at + turn.content.length]);
    push("content", turn.content);
    push("template", chunks[i + 1]);
  }
  const text = parts.map((part) => part.text).join("");
  if (text !== render(template, turns, open)) {
    throw new DataError(
      "chat-template",
      "Expected the chat template to leave contents as they are but it rewrites one. Remove white space at the ends of the contents, or use another template.",
    );
  }
  checkEnds(template, chunks, turns);
  if (open) checkOpens(template, blank, skeleton);
  const ends = turnEnds(template, blank, turns, skeleton);
  const spans: TurnSpan[] = turns.map((turn, i) => ({
    role: turn.role,
    content: content[i],
    whole: [i === 0 ? 0 : ends[i - 1], ends[i]],
  }));
  if (answerPrefix !== null) {
    spans.push({
      role: "assistant",
      content: [at, at + answerPrefix.length],
      whole: [ends[ends.length - 1], at + answerPrefix.length],
    });
    push("content", answerPrefix);
  }
  return {
    text: parts.map((part) => part.text).join(""),
    parts: parts.filter((part) => part.text !== ""),
    turns: spans,
    injectedSystem: turns[0].role === "system" ? null : injectedSystem(template, chunks[0]),
  };
}

/** Template text before, between and after the stand-ins; each must be there once, in order. */
function splitAtStandIns(skeleton: string, count: number): string[] {
  const chunks: string[] = [];
  let rest = skeleton;
  for (let i = 0; i < count; i++) {
    const pieces = rest.split(standIn(i));
    if (pieces.length !== 2) {
      throw new DataError(
        "chat-template",
        `Expected the chat template to write turn ${i} once but it writes it ${pieces.length - 1} times.`,
      );
    }
    chunks.push(pieces[0]);
    rest = pieces[1];
  }
  return [...chunks, rest];
}

/**
 * Every content must be followed at once by a control token: a turn without its end reads on into the next. A system turn may have more
 * of the template's own text before its end, if a header follows that. A user turn that ends the text may stay open, as in templates
 * whose user turns are ended by the assistant's header.
 */
function checkEnds(template: ChatTemplate, chunks: string[], turns: readonly ChatTurn[]): void {
  const { controlTokens } = template;
  for (const [i, turn] of turns.entries()) {
    if (controlTokens.some((token) => chunks[i + 1].startsWith(token))) continue;
    const found = controlTokens.reduce((sum, token) => sum + chunks[i + 1].split(token).length - 1, 0);
    if (turn.role === "system" && found > 1) continue;
    if (chunks[i + 1] === "" && i === turns.length - 1 && turn.role === "user") continue;
    throw new DataError(
      "chat-template",
      `Expected an end-of-turn token after turn ${i} (${turn.role}) but the template writes ${JSON.stringify(chunks[i + 1].slice(0, 20))}.`,
    );
  }
}

/** add_generation_prompt must add something with a control token in it: one such token is a header. */
function checkOpens(template: ChatTemplate, blank: readonly ChatTurn[], skeleton: string): void {
  const closed = closedAt(template, render(template, blank, false), skeleton);
  const header = closed === null ? "" : skeleton.slice(closed);
  if (template.controlTokens.some((token) => header.includes(token))) return;
  throw new DataError(
    "chat-template",
    `Expected the chat template to open an assistant turn for add_generation_prompt but it adds ${JSON.stringify(header.slice(0, 20))}.`,
  );
}

/** End of each turn in the final text: the length of the conversation up to it, which must be a prefix of the whole. */
function turnEnds(template: ChatTemplate, blank: ChatTurn[], turns: readonly ChatTurn[], skeleton: string): number[] {
  let growth = 0; // contents are longer or shorter than their stand-ins
  return turns.map((turn, i) => {
    const end = endOf(template, blank.slice(0, i + 1), skeleton);
    if (end === null) {
      throw new DataError(
        "chat-template",
        `Expected a conversation to begin with its own first ${i + 1} turns but the chat template rewrites them later.`,
      );
    }
    growth += turn.content.length - standIn(i).length;
    return end + growth;
  });
}

/** Length of the conversation so far within the whole, or null where the whole does not begin with it. */
function endOf(template: ChatTemplate, soFar: readonly ChatTurn[], skeleton: string): number | null {
  if (soFar.length > 1 || soFar[0].role !== "system")
    return closedAt(template, render(template, soFar, false), skeleton);
  try {
    return closedAt(template, render(template, soFar, false), skeleton);
  } catch {
    // A template that wants a user turn refuses a system turn alone: it ends with the control token after it, and that token's line.
    const from = skeleton.indexOf(soFar[0].content) + soFar[0].content.length;
    const ends = template.controlTokens.flatMap((token) => {
      const at = skeleton.indexOf(token, from);
      return at === -1 ? [] : [{ at, end: at + token.length }];
    });
    const first = ends.sort((a, b) => a.at - b.at || b.end - a.end)[0];
    return first === undefined ? null : first.end + (skeleton[first.end] === "\n" ? 1 : 0);
  }
}

/** Where a text that is closed stands complete in the whole; some templates end what is closed, and nothing else, by the end-of-text token. */
function closedAt({ eosToken }: ChatTemplate, closed: string, skeleton: string): number | null {
  const without = eosToken !== null && closed.endsWith(eosToken) ? closed.slice(0, -eosToken.length) : closed;
  return [closed, without].find((text) => skeleton.startsWith(text))?.length ?? null;
}

/** What stands between the header of a system turn and the next control token in the text before the first content. */
function injectedSystem(template: ChatTemplate, before: string): string | null {
  const probe: ChatTurn[] = [
    { role: "system", content: standIn(0) },
    { role: "user", content: standIn(1) },
  ];
  let header: string;
  try {
    header = splitAtStandIns(render(template, probe, false), 2)[0];
  } catch {
    return null; // a template that refuses or rewrites system turns has no place for one
  }
  const start = before.indexOf(header);
  if (header === "" || start === -1) return null;
  const rest = before.slice(start + header.length);
  const ends = template.controlTokens.map((token) => rest.indexOf(token)).filter((index) => index >= 0);
  const injected = ends.length === 0 ? rest : rest.slice(0, Math.min(...ends));
  return injected === "" ? null : injected;
}

function reason(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).split("\n")[0].slice(0, 160).replace(/\.$/, "");
}
