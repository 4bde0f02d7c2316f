/**
 * What a protocol is called: by its name if it is a shipped one to the byte, else with what it changes.
 *
 * A copied protocol with one changed line must not pass for the original: everything that shows a run shows this label.
 */
import { canonicalJson } from "../files";
import { protocolHash, shippedProtocols as readShipped } from "./protocol";
import type { Protocol } from "./types";

/** A field that two protocols differ in. */
export interface ProtocolChange {
  /** dotted path, such as training.lora.r */
  path: string;
  /** the value now, in words */
  value: string;
}

/** Fields that say what a protocol is called and not what it does. */
const NAMES = new Set(["name", "title", "about", "twinOf", "sizing"]);
const SHOWN = 3;
const LONGEST = 40;

let shipped: Protocol[] | null = null;
const shippedProtocols = (): Protocol[] => (shipped ??= readShipped());

/**
 * "strict", "strict for 0.5B" where its numbers are for another size than the file's own, or "strict, changed: training.examples 640": the content decides, compared with the shipped protocols by hash.
 * One that has a name of its own is called by it, and by the shipped protocol it is nearest to: "mine (strict, changed: ...)".
 * @returns its name, with the changes in words where it is not as shipped
 * @example
 * protocolLabel(twin(loadProtocol("strict"), { "training.examples": 640 })); // "strict, changed: training.examples 640"
 */
export function protocolLabel(protocol: Protocol): string {
  const hash = protocolHash(protocol);
  const same = shippedProtocols().find((other) => protocolHash(other) === hash);
  if (same !== undefined) return sizedName(same);
  const named = protocol.twinOf?.name ?? protocol.name;
  const family = shippedProtocols().filter(({ name }) => name === named);
  const base = family.find(({ sizing }) => sizing?.name === protocol.sizing?.name) ?? family[0] ?? nearest(protocol);
  if (base === null) return protocol.name;
  const changes = protocolChanges(protocol, base);
  const [first, rest] = [changes.slice(0, SHOWN), changes.length - SHOWN];
  const listed = first.map(({ path, value }) => `${path} ${value}`).join(", ");
  const words =
    changes.length === 0
      ? `${sizedName(base)}, other words about it`
      : `${sizedName(base)}, changed: ${listed}${rest > 0 ? ` and ${rest} more` : ""}`;
  const isOwnName = protocol.twinOf === null && protocol.name !== base.name;
  return isOwnName ? `${protocol.name} (${words})` : words;
}

/** A shipped protocol's name, with its size unless that is the size of its file. */
function sizedName({ name, sizing }: Protocol): string {
  const own = shippedProtocols().find((other) => other.name === name)?.sizing;
  return sizing === null || sizing.name === own?.name ? name : `${name} for ${sizing.name}`;
}

/**
 * What the protocol of a run without a recorded label is called. It may have been changed by hand, or be a shipped one of an
 * older version; which of the two, nobody wrote down.
 */
export function olderProtocolLabel(protocol: Protocol): string {
  const hash = protocolHash(protocol);
  const same = shippedProtocols().find((other) => protocolHash(other) === hash);
  return same === undefined ? `${protocol.name}, not as shipped now (${hash.slice(0, 8)})` : sizedName(same);
}

/** The shipped protocol with the fewest differing fields, if at least half of its fields are the same. */
function nearest(protocol: Protocol): Protocol | null {
  const fields = leaves(protocol).size;
  const scored = shippedProtocols().map((other) => ({ other, count: protocolChanges(protocol, other).length }));
  const best = scored.sort((a, b) => a.count - b.count)[0];
  return best !== undefined && best.count <= fields / 2 ? best.other : null;
}

/** Fields of `protocol` that are other than in `base`, in its order; names and descriptions do not count. */
export function protocolChanges(protocol: Protocol, base: Protocol): ProtocolChange[] {
  const [now, before] = [leaves(protocol), leaves(base)];
  const gone = [...before.keys()].filter((path) => !now.has(path)).map((path) => ({ path, value: "left out" }));
  const changed = [...now].filter(([path, value]) => canonicalJson(value) !== canonicalJson(before.get(path) ?? null));
  return [...changed.map(([path, value]) => withinList(path, value, before.get(path))), ...gone];
}

const isListOfObjects = (value: unknown): value is object[] =>
  Array.isArray(value) && value.every((entry) => typeof entry === "object" && entry !== null && !Array.isArray(entry));

/** A change in a list of as many entries: the one field of one entry that is another, else how many entries are. */
function withinList(path: string, value: unknown, was: unknown): ProtocolChange {
  if (!isListOfObjects(value) || !isListOfObjects(was) || value.length !== was.length)
    return { path, value: shown(value) };
  const other = value.flatMap((entry, i) => (canonicalJson(entry) === canonicalJson(was[i]) ? [] : [i]));
  const [i] = other;
  const before = leaves(was[i], `${path}.${i}`);
  const fields = [...leaves(value[i], `${path}.${i}`)].filter(
    ([field, leaf]) => canonicalJson(leaf) !== canonicalJson(before.get(field) ?? null),
  );
  if (other.length === 1 && fields.length === 1) return { path: fields[0][0], value: shown(fields[0][1]) };
  return { path, value: `(${other.length} of ${value.length} entries)` };
}

/** Values by dotted path; lists count as one value. */
function leaves(value: object, path = ""): Map<string, unknown> {
  const found = new Map<string, unknown>();
  for (const [key, child] of Object.entries(value)) {
    if (path === "" && NAMES.has(key)) continue;
    const here = path === "" ? key : `${path}.${key}`;
    if (typeof child === "object" && child !== null && !Array.isArray(child))
      for (const [inner, leaf] of leaves(child as object, here)) found.set(inner, leaf);
    else found.set(here, child);
  }
  return found;
}

function shown(value: unknown): string {
  if (value === null) return "none";
  if (Array.isArray(value)) {
    const isPlain = value.every((item) => typeof item !== "object");
    return isPlain ? cut(`[${value.join(", ")}]`) : `(${value.length} entries)`;
  }
  return cut(String(value));
}

const cut = (text: string): string => (text.length > LONGEST ? `${text.slice(0, LONGEST - 3)}...` : text);
