/**
 * Turning untrusted text into something safe inside HTML, inside an attribute, or inside a data script.
 *
 * Prompts and model outputs are hostile until proven otherwise: everything that reaches a page goes through here.
 * Used by page.ts, notebook/pages and report/report.ts. Does not clean existing HTML (see notebook/pages/sanitise.ts).
 */

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/**
 * `text` with the five characters that mean something to an HTML parser replaced by entities.
 * Safe between tags and inside quoted attributes; control characters that no page may hold are replaced by U+FFFD.
 *
 * @example
 * escapeHtml("a < b & 'c'"); // "a &lt; b &amp; &#39;c&#39;"
 */
export function escapeHtml(text: unknown): string {
  return String(text)
    .replace(/[&<>"']/g, (character) => ENTITIES[character])
    .replace(FORBIDDEN_CONTROLS, "\uFFFD");
}

// NUL ends up as a parse error and the C0/C1 controls have no rendering; tab, newline and return stay.
const FORBIDDEN_CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;

// U+2028 and U+2029 end a line in old JavaScript though not in JSON.
const SCRIPT_HOSTILE = /[<>&\u2028\u2029]/g;

/**
 * `value` as JSON that may stand inside a `<script>` element: no `</script>`, no `<!--`, no U+2028 or U+2029.
 * The parsed value is unchanged.
 *
 * @throws TypeError if `value` has a cycle or is not representable (a function, undefined).
 * @example
 * scriptJson("</script>"); // "\"\\u003c/script\\u003e\""
 */
export function scriptJson(value: unknown): string {
  const json = JSON.stringify(value);
  if (json === undefined) throw new TypeError("Expected a JSON value for scriptJson but received undefined.");
  return json.replace(SCRIPT_HOSTILE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
