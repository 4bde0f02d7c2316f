/**
 * Markdown as HTML, with raw HTML switched off: what looks like a tag is shown as text.
 *
 * markdown-it refuses javascript: and data: links by itself; remote pictures would be blocked by the page's policy,
 * so they become links.
 */

import MarkdownIt from "markdown-it";
import { escapeHtml } from "./escape";

const markdown = new MarkdownIt({ html: false, linkify: false, typographer: false });

markdown.renderer.rules.image = (tokens, index) => {
  const source = tokens[index].attrGet("src") ?? "";
  const label = escapeHtml(tokens[index].content || source);
  if (source.startsWith("data:image/")) return `<img src="${escapeHtml(source)}" alt="${label}">`;
  return `<a href="${escapeHtml(source)}" rel="noreferrer">${label}</a>`;
};
markdown.renderer.rules.table_open = () => '<div class="scroll"><table>';
markdown.renderer.rules.table_close = () => "</table></div>";

/** HTML of a Markdown text. */
export function renderMarkdown(text: string): string {
  return markdown.render(text);
}
