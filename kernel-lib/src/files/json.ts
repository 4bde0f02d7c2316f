/**
 * JSON with the traps closed: no silent NaN on the way out, no duplicate keys on the way in, one form to hash.
 *
 * Reading: RFC 8259 by the engine's own parser, then a second look at the (now known to be valid) text for keys that
 * occur twice in one object, because two readers of such a file may see two different values.
 */
import { DataError, expected, InputError } from "../base";

/**
 * JSON text of a value; refuses what JSON cannot say.
 *
 * @throws InputError "not-finite" for NaN or an infinity anywhere inside: an unknown is null here, and only on purpose
 */
export function finiteJson(value: unknown, indent = 0): string {
  const text = JSON.stringify(
    value,
    (key, item: unknown) => {
      if (typeof item === "number" && !Number.isFinite(item)) {
        throw new InputError("not-finite", expected("a finite number or null", key === "" ? "value" : key, item));
      }
      return item;
    },
    indent,
  );
  if (text === undefined) throw new InputError("not-json", expected("a JSON value", "value", typeof value));
  return text;
}

/**
 * JSON text with object keys in code-unit order at every depth: equal contents give equal text, whatever the key order.
 *
 * @throws InputError "not-finite" as `finiteJson`
 */
export function canonicalJson(value: unknown): string {
  const sorted = (item: unknown): unknown => {
    if (Array.isArray(item)) return item.map(sorted);
    if (item === null || typeof item !== "object") return item;
    const record = item as Record<string, unknown>;
    return Object.fromEntries(
      Object.keys(record)
        .sort()
        .map((key) => [key, sorted(record[key])]),
    );
  };
  return finiteJson(sorted(JSON.parse(finiteJson(value)) as unknown));
}

/** Deepest nesting that is read; a config file has about 4 levels, and careless recursion overflows at some thousands. */
const MAX_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The index of the quote that ends the string opened at `start`, in valid JSON. */
function stringEnd(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes += 1;
    if (slashes % 2 === 0) return end;
  }
}

/**
 * A second look at valid JSON text, one pass without recursion: every object key (with the keys of its object so far) and,
 * where asked for, every number as it is written.
 *
 * @throws DataError "json-depth"
 */
function walkJson(
  text: string,
  name: string,
  onKey: (key: string, seen: Set<string>) => void,
  onNumber: ((text: string) => void) | null,
): void {
  const stack: (Set<string> | null)[] = []; // one set of keys per open object, null per open array
  let atKey = false;
  const number = /[-\d][\d.eE+-]*/y;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      const end = stringEnd(text, at);
      if (atKey) onKey(JSON.parse(text.slice(at, end + 1)) as string, stack[stack.length - 1] as Set<string>);
      atKey = false;
      at = end;
    } else if (code === 0x7b || code === 0x5b) {
      atKey = code === 0x7b;
      if (stack.push(atKey ? new Set() : null) > MAX_DEPTH)
        throw new DataError("json-depth", `Expected at most ${MAX_DEPTH} nested levels in ${name}.`);
    } else if (code === 0x7d || code === 0x5d) {
      stack.pop();
      atKey = false;
    } else if (code === 0x2c) {
      atKey = (stack[stack.length - 1] ?? null) !== null;
    } else if (onNumber !== null && (code === 0x2d || (code >= 0x30 && code <= 0x39))) {
      number.lastIndex = at;
      const [digits] = number.exec(text) as RegExpExecArray;
      onNumber(digits);
      at += digits.length - 1;
    }
  }
}

/** The first key that stands twice in one object of valid JSON text, or null. @throws DataError "json-depth" */
export function duplicateKey(text: string, name: string): string | null {
  let twice: string | null = null;
  const onKey = (key: string, seen: Set<string>): void => {
    if (seen.has(key)) twice ??= key;
    seen.add(key);
  };
  walkJson(text, name, onKey, null);
  return twice;
}

/**
 * Parses JSON text and refuses what well-meaning readers disagree about.
 *
 * @param name what the text is, for the error sentence ("config.json")
 * @param options.wholeNumbers refuse any number not written as plain digits (1.0, 1e3 and -1 included)
 * @throws DataError "json-syntax", "json-duplicate-key", "json-number", "json-depth"
 *
 * @example
 * parseJsonStrict('{"a": 1, "a": 2}', "config.json"); // DataError json-duplicate-key
 */
export function parseJsonStrict(text: string, name: string, options: { wholeNumbers?: boolean } = {}): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // The engine's message quotes the text; a stack overflow from absurd nesting lands here too.
    throw new DataError("json-syntax", `Expected valid JSON in ${name} but received ${describeSyntax(error)}.`);
  }
  walkJson(
    text,
    name,
    (key, seen) => {
      if (seen.has(key)) {
        throw new DataError("json-duplicate-key", expected("every key once", name, key, "The key stands there twice."));
      }
      seen.add(key);
    },
    options.wholeNumbers !== true
      ? null
      : (digits) => {
          if (!/^\d+$/.test(digits) || !Number.isSafeInteger(Number(digits)))
            throw new DataError("json-number", expected("whole numbers up to 2^53 - 1, in plain digits", name, digits));
        },
  );
  return value;
}

function describeSyntax(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.slice(0, 120).replace(/\s+/g, " ").replace(/\.$/, "");
}
