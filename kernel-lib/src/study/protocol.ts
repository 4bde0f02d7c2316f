/**
 * Protocols: a study read from YAML, resolved with its prompts, checked, hashed, varied into twins and rendered as text.
 *
 * First module of the training branch: protocol -> examples -> train, and protocol -> trials -> detection. The hash is
 * SHA-256 of the resolved content, so two runs with one hash asked the same study. Documents are rendered from the
 * protocol (`renderProtocol`), never written beside it. Binding to a model is bind.ts.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { stringify } from "yaml";
import { z } from "zod";
import { DATA_FOLDER, expected, InputError, say } from "../base";
import type { ModelConfig } from "../checkpoint";
import { checkShape, contentHash, parseYaml, readText, writeFileAtomic } from "../files";
import {
  readContexts,
  readControlQuestions,
  readDetectionQuestions,
  readInfoPrompt,
  readRetention,
  readTrainControls,
  type RetentionTexts,
  type StudyQuestion,
} from "./prompts";
import { checkProtocol } from "./schema";
import { chooseSizing, type Sizing, type SizingRule, sizingRulesSchema, sizingSchema, splitSize } from "./sizing";
import type { Protocol } from "./types";

/** Question of the unrelated-task control: answerable from the words alone, no steering involved. */
const UNRELATED_QUESTION: StudyQuestion = {
  id: "unrelated-01",
  split: "unrelated",
  text: "Does my first message end with a question mark? Answer with just yes or no.",
  cardQuestion: false,
  explained: false,
  kind: "detection",
  truth: null,
};

/** What a protocol file holds besides fields that are taken over as they stand. */
const fileSchema = z.looseObject({
  prompts: z.strictObject({
    contexts: z.union([z.string(), z.array(z.string()).min(1)]),
    questions: z.string(),
    trainQuestions: z.number().int().min(1).nullable(),
    controls: z.string().optional(),
    retention: z.string().optional(),
  }),
  conversation: z.strictObject({
    system: z.string(),
    infoPrompt: z.strictObject({ file: z.string(), version: z.enum(["text", "short"]) }).nullable(),
    assistantPrefix: z.string().optional(),
    labels: z.strictObject({ steered: z.string(), clean: z.string() }).optional(),
  }),
  sizing: sizingSchema.nullable().default(null),
  sizings: sizingRulesSchema.default([]),
});

/**
 * Reads a protocol: a shipped one by name ("card", "strict"), or a YAML file, or the resolved `protocol.yaml` of a run.
 * A file that is not shipped gives its own name, so that a changed copy does not pass for what it was copied from.
 *
 * @param nameOrFile name of a shipped protocol, or path of a YAML file; prompt files in it are relative to it. "strict@0.5B" takes the
 *   values for that size of model; without one they are those that stand in the file
 * @returns the resolved protocol with every text in it
 * @throws InputError "protocol-unknown", "protocol-size", "protocol-field", "protocol-split", "label-balance"; DataError for prompt files
 * @example
 * const protocol = loadProtocol("strict");
 */
export function loadProtocol(nameOrFile: string): Protocol {
  const [name, size] = fs.existsSync(nameOrFile) ? [nameOrFile, null] : splitSize(nameOrFile);
  return readProtocol(name, size);
}

/** A protocol for a size by name, for a model, or (null) as its file stands. */
function readProtocol(nameOrFile: string, size: string | ModelConfig | null): Protocol {
  const { file, value } = readProtocolFile(nameOrFile);
  const isResolved =
    typeof value === "object" && value !== null && Array.isArray((value as { contexts?: unknown }).contexts);
  if (isResolved) {
    const protocol = checkProtocol(fromYaml(value));
    if (typeof size === "string") chooseSizing(protocol.sizing, [], size, nameOrFile);
    return protocol;
  }
  const resolved = resolveFile(value, path.dirname(file));
  const { sizing: own, sizings } = resolved;
  const rule = chooseSizing(own, sizings, size, nameOrFile);
  if (rule !== null && typeof size === "object")
    say(
      `protocol ${nameOrFile} takes its values for ${rule.name}, by the model's size: ${rule.about.trim()} (${nameOrFile}@${own?.name ?? "SIZE"} takes those of its file.)`,
    );
  const protocol = sizedBy(resolved, rule);
  return isShipped(file) ? protocol : { ...protocol, name: nameOfFile(file) };
}

/** A resolved file at one of its sizes; null: its own. */
function sizedBy({ protocol, sizing }: ResolvedFile, rule: SizingRule | null): Protocol {
  const copy = structuredClone(fromYaml(protocol)) as Record<string, unknown>;
  for (const [field, value] of Object.entries(rule?.set ?? {})) setField(copy, field, value);
  return checkProtocol({ ...copy, sizing: rule === null ? sizing : { name: rule.name, about: rule.about } });
}

function readProtocolFile(nameOrFile: string): { file: string; value: unknown } {
  const shipped = path.join(DATA_FOLDER, "protocols", `${nameOrFile}.yaml`);
  const file = /^[a-z0-9-]+$/.test(nameOrFile) && fs.existsSync(shipped) ? shipped : nameOrFile;
  if (!fs.existsSync(file)) {
    const known = listProtocols().join(", ");
    throw new InputError(
      "protocol-unknown",
      expected("a shipped protocol or a YAML file", "protocol", nameOrFile, `Shipped: ${known}.`),
    );
  }
  return { file, value: parseYaml(readText(file), file) };
}

const isShipped = (file: string): boolean =>
  path.dirname(path.resolve(file)) === path.resolve(DATA_FOLDER, "protocols");

/** The shipped protocols at every size that their files state, each file's own first. */
export function shippedProtocols(): Protocol[] {
  return listProtocols().flatMap((name) => {
    const { file, value } = readProtocolFile(name);
    const resolved = resolveFile(value, path.dirname(file));
    return [null, ...resolved.sizings].map((rule) => sizedBy(resolved, rule));
  });
}

/** "My study.yaml" -> "my-study". */
function nameOfFile(file: string): string {
  const words = path
    .parse(file)
    .name.toLowerCase()
    .match(/[a-z0-9]+/g);
  return words?.join("-") ?? "unnamed";
}

/** YAML spells LoRA's keys as PEFT does (`target_modules`), runs of older versions as the field here; the hash sees the field. */
function fromYaml(value: unknown): unknown {
  const { training } = value as { training?: { lora?: Record<string, unknown> } };
  if (training?.lora === undefined || training.lora === null || !("target_modules" in training.lora)) return value;
  const { target_modules: targetModules, ...lora } = training.lora;
  if ("targetModules" in lora)
    throw new InputError(
      "protocol-field",
      expected("one spelling", "training.lora.target_modules", "targetModules too", "Leave out targetModules."),
    );
  return { ...(value as object), training: { ...training, lora: { ...lora, targetModules } } };
}

/** The other way round, for a file. */
function toYaml(protocol: Protocol): object {
  const { targetModules, ...lora } = protocol.training.lora;
  return { ...protocol, training: { ...protocol.training, lora: { ...lora, target_modules: targetModules } } };
}

/**
 * Names of the shipped protocols, as `loadProtocol` takes them.
 *
 * @returns sorted by name
 * @example
 * const protocols = listProtocols().map(loadProtocol); // card, strict
 */
export function listProtocols(): string[] {
  const folder = path.join(DATA_FOLDER, "protocols");
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder)
    .filter((name) => name.endsWith(".yaml"))
    .map((name) => name.slice(0, -5))
    .sort();
}

/** A protocol file with its texts: its own values, the size that they are for, and what other sizes change. */
interface ResolvedFile {
  protocol: object;
  sizing: Sizing | null;
  sizings: SizingRule[];
}

/** Replaces file references by the texts in them; sizes come apart. */
function resolveFile(value: unknown, folder: string): ResolvedFile {
  const of = { code: "protocol-field", whole: "protocol", where: "" };
  const { prompts, conversation, sizing, sizings, ...rest } = checkShape(value, fileSchema, of);
  const asked = readDetectionQuestions(path.resolve(folder, prompts.questions));
  const train = asked.questions.filter((item) => item.split === "train").slice(0, prompts.trainQuestions ?? undefined);
  const info = conversation.infoPrompt;
  const protocol = {
    twinOf: null,
    ...rest,
    conversation: {
      system: conversation.system,
      assistantPrefix: conversation.assistantPrefix ?? asked.assistantPrefix,
      labels: conversation.labels ?? asked.labels,
      infoPrompt: info === null ? null : readInfoPrompt(path.resolve(folder, info.file))[info.version],
    },
    contexts: [prompts.contexts].flat().flatMap((file) => readContexts(path.resolve(folder, file))),
    questions: [
      ...train,
      ...asked.questions.filter((item) => item.split !== "train"),
      UNRELATED_QUESTION,
      ...(prompts.controls === undefined ? [] : readControlQuestions(path.resolve(folder, prompts.controls))),
    ],
    retention: retentionTexts(folder, prompts),
  };
  return { protocol, sizing, sizings };
}

/** Retention texts, with the training split of the controls where the protocol names both. */
function retentionTexts(folder: string, prompts: { retention?: string; controls?: string }): RetentionTexts {
  if (prompts.retention === undefined) return { suffixes: [], questions: [], chats: [] };
  const texts = readRetention(path.resolve(folder, prompts.retention));
  const controls = prompts.controls === undefined ? [] : readTrainControls(path.resolve(folder, prompts.controls));
  return { ...texts, questions: [...texts.questions, ...controls] };
}

/**
 * SHA-256 of the resolved protocol: what was asked, to the letter. Key order and the spelling of its file do not count.
 *
 * @returns 64 hex digits; two runs with one hash asked the same study
 * @example
 * const sameStudy = protocolHash(loadProtocol("strict")) === protocolHash(protocol);
 */
export function protocolHash(protocol: Protocol): string {
  return contentHash(protocol);
}

/**
 * Writes the resolved protocol as YAML, whole and atomically; `loadProtocol` reads it back to the same hash.
 *
 * @param file made or replaced
 * @throws InputError "out-kind", "out-folder"; DeviceError "disk-full"
 * @example
 * saveProtocol(twin(loadProtocol("strict"), "flipped"), "flipped.yaml");
 */
export function saveProtocol(protocol: Protocol, file: string): void {
  writeFileAtomic(file, stringify(toYaml(protocol), { lineWidth: 0 }));
}

/**
 * The study's controls by name, as changes of declared fields: what `twin` takes by name.
 *
 * @example
 * const controls = Object.keys(TWINS).map((name) => twin(loadProtocol("strict"), name));
 */
export const TWINS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  neutral: { "training.questions": "neutral" },
  vague: { "training.questions": "vague" },
  "no-steer": { "training.control": "no-steer" },
  flipped: { "training.control": "flipped" },
  deny: { "training.control": "deny" },
  corrupt: { "training.control": "corrupt", "training.corruptShare": 0.25 },
  unrelated: { "training.control": "unrelated", "training.questions": "unrelated" },
  "no-retention": { "training.retention.share": 0 },
  pair: { "training.loss": "pair" },
  full: { "training.loss": "full" },
  "rank-1": { "training.lora.r": 1, "training.lora.alpha": 2 },
};

/**
 * The same study with declared fields changed: a control, or a setting varied on purpose.
 *
 * @param changes a name from `TWINS`, or values by dotted path, such as {"training.lora.r": 4}
 * @param name what to call it after the study's own name; default: the twin's name, or eight digits of the changes' hash
 * @returns a protocol that names what it is a twin of; the one given stays as it is
 * @throws InputError "protocol-unknown" for an unknown twin or field; whatever `checkProtocol` finds in the result
 * @example
 * const flipped = twin(loadProtocol("strict"), "flipped");
 * const small = twin(loadProtocol("strict"), { "training.lora.r": 4 });
 */
export function twin(protocol: Protocol, changes: string | Record<string, unknown>, name?: string): Protocol {
  const fields = typeof changes === "string" ? TWINS[changes] : changes;
  if (fields === undefined)
    throw new InputError("protocol-unknown", expected(`one of ${Object.keys(TWINS).join(", ")}`, "twin", changes));
  const copy = JSON.parse(JSON.stringify(protocol)) as Record<string, unknown>;
  for (const [field, value] of Object.entries(fields)) setField(copy, field, value);
  const suffix = name ?? (typeof changes === "string" ? changes : contentHash(fields).slice(0, 8));
  copy.name = `${protocol.name}~${suffix}`;
  copy.twinOf = { name: protocol.name, changes: { ...protocol.twinOf?.changes, ...fields } };
  return checkProtocol(copy);
}

/**
 * A protocol at the size of a model, with changes by dotted path as a notebook's parameters give them.
 *
 * @param nameOrFile as for `loadProtocol`; "strict@32B" takes that size whatever the model's
 * @param changes on top of the size's own values
 * @param config the model's: takes the values for its number of parameters; null: as the file stands
 * @returns a resolved protocol; `sizing` says which size it is for
 * @throws InputError as `loadProtocol` and `twin`
 * @example
 * const protocol = protocolOf("strict", { "training.optimizer.lr": 2e-4 }, model.config);
 */
export function protocolOf(
  nameOrFile: string,
  changes: Readonly<Record<string, unknown>> = {},
  config: ModelConfig | null = null,
): Protocol {
  const [name, size] = fs.existsSync(nameOrFile) ? [nameOrFile, null] : splitSize(nameOrFile);
  const protocol = readProtocol(name, size ?? config);
  return Object.keys(changes).length === 0 ? protocol : twin(protocol, { ...changes });
}

/** Sets a declared field by its dotted path; entries of a list are found by number or by their name. */
function setField(root: object, field: string, value: unknown): void {
  const keys = field.split(".");
  const last = keys.pop() as string;
  let owner: unknown = root;
  for (const key of keys) owner = entryOf(owner, key);
  if (typeof owner !== "object" || owner === null || !Object.hasOwn(owner, last)) {
    throw new InputError(
      "protocol-unknown",
      expected("a declared field", "twin", field, "Write it as a dotted path, e.g. training.lora.r."),
    );
  }
  (owner as Record<string, unknown>)[last] = value;
}

function entryOf(owner: unknown, key: string): unknown {
  const named = Array.isArray(owner) ? owner.find((item) => (item as { name?: unknown }).name === key) : undefined;
  return named ?? (Object.hasOwn(Object(owner), key) ? (owner as Record<string, unknown>)[key] : undefined);
}
