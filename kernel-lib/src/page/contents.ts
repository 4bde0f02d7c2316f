/**
 * Anchors on the headings of a page, and a list of contents where there are many.
 *
 * Works on the trusted HTML of a body: headings are written by our own code or by markdown-it, never by model output.
 */

/** Headings from which on a page has a list of contents. */
export const CONTENTS_FROM = 4;

const HEADING = /<h([23])((?:\s[^>]*)?)>([\s\S]*?)<\/h\1>/g;

const plain = (html: string): string => html.replace(/<[^>]*>/g, "").trim();

/** "Crying wolf: false alarms" -> "crying-wolf-false-alarms", made unique by a number. */
function slugOf(text: string, taken: Set<string>): string {
  const words = text
    .replace(/&[a-z#0-9]+;/gi, " ")
    .toLowerCase()
    .match(/[\p{L}\p{N}]+/gu);
  const base = `s-${words?.join("-") ?? "section"}`.slice(0, 60);
  let slug = base;
  for (let i = 2; taken.has(slug); i++) slug = `${base}-${i}`;
  taken.add(slug);
  return slug;
}

/**
 * `body` with an id and a link to itself on every h2 and h3; a page of CONTENTS_FROM or more h2 gets a list of them
 * before the first.
 */
export function withContents(body: string): string {
  const taken = new Set([...body.matchAll(/\sid="([^"]+)"/g)].map((match) => match[1]));
  const entries: Array<{ slug: string; text: string }> = [];
  const anchored = body.replace(HEADING, (_all, level: string, attributes: string, inner: string) => {
    const own = /\sid="([^"]+)"/.exec(attributes)?.[1];
    const slug = own ?? slugOf(plain(inner), taken);
    if (level === "2") entries.push({ slug, text: plain(inner) });
    const id = own === undefined ? ` id="${slug}"` : "";
    return `<h${level}${attributes}${id}>${inner}<a class="anchor" href="#${slug}" aria-label="link to this section">#</a></h${level}>`;
  });
  if (entries.length < CONTENTS_FROM || anchored.includes('class="contents"')) return anchored;
  const items = entries.map(({ slug, text }) => `<li><a href="#${slug}">${text}</a></li>`).join("");
  const list = `<nav class="contents" aria-label="Contents"><details open><summary>Contents</summary><ol>${items}</ol></details></nav>`;
  // A function, because `$` in a heading means something to a replacement text.
  return anchored.replace(/<h2[\s>]/, (start) => `${list}${start}`);
}
