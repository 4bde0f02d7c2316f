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

/** Strings, each with its colon if it is a key, and the braces that open and close an object: numbers are not looked at. */
const KEY_TOKEN = /"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}]/gs;

/** The first key that stands twice in one object of valid JSON text, or null; quick on lines that are mostly numbers. */
export function duplicateKey(text: string): string | null {
  const stack: Set<string>[] = [];
  for (const [token] of text.matchAll(KEY_TOKEN)) {
    if (token === "{") stack.push(new Set());
    else if (token === "}") stack.pop();
    else if (token.endsWith(":")) {
      const key = JSON.parse(token.slice(0, -1)) as string;
      const seen = stack[stack.length - 1];
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return null;
}

/** A token that matters to the second look: a string, a number, or a bracket, colon or comma. */
const JSON_TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[{}[\],:]/gs;

/** Deepest nesting that is read; a config file has about 4 levels, and careless recursion overflows at some thousands. */
const MAX_DEPTH = 64;

/** Calls back for every object key (once per occurrence, with the keys before it) and every number in valid JSON text. */
function walkJson(
  text: string,
  name: string,
  onKey: (key: string, seen: Set<string>) => void,
  onNumber: (text: string) => void,
): void {
  const stack: (Set<string> | null)[] = []; // one set of keys per open object, null per open array
  let atKey = false;
  for (const match of text.matchAll(JSON_TOKEN)) {
    const token = match[0];
    const first = token[0];
    if (first === "{") {
      stack.push(new Set());
      atKey = true;
    } else if (first === "[") {
      stack.push(null);
      atKey = false;
    } else if (first === "}" || first === "]") {
      stack.pop();
      atKey = false;
    } else if (first === ",") {
      atKey = (stack[stack.length - 1] ?? null) !== null;
    } else if (first === '"') {
      if (atKey) onKey(JSON.parse(token) as string, stack[stack.length - 1] as Set<string>);
      atKey = false;
    } else if (first !== ":") onNumber(token);
    if (stack.length > MAX_DEPTH)
      throw new DataError("json-depth", `Expected at most ${MAX_DEPTH} nested levels in ${name}.`);
  }
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
    (digits) => {
      if (options.wholeNumbers === true && !(/^\d+$/.test(digits) && Number.isSafeInteger(Number(digits)))) {
        throw new DataError("json-number", expected("whole numbers up to 2^53 - 1, in plain digits", name, digits));
      }
    },
  );
  return value;
}

function describeSyntax(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.slice(0, 120).replace(/\s+/g, " ").replace(/\.$/, "");
}
