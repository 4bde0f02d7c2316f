/**
 * HTML from a notebook's output, reduced to what a report may show.
 *
 * The text is parsed by a real HTML parser (jsdom, scripts off) and written anew from an allow-list: elements and
 * attributes that are not named here never reach the page, whatever tricks the source plays with the parser.
 * Links keep http, https, mailto and in-page targets; pictures must be embedded. The page's policy is the second wall.
 */

import { escapeHtml } from "../../page";

const ELEMENTS = new Set(
  `a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr
   i img ins kbd li mark ol p pre progress q s small span strong sub summary sup table tbody td tfoot th thead tr u ul`.split(
    /\s+/,
  ),
);
const EMPTY = new Set(["br", "col", "hr", "img"]);
/** Their content is code or another language: dropped whole, where other unknown elements only lose their tags. */
const DROPPED = new Set(
  `applet audio base button canvas embed form frame frameset head iframe input link math meta noembed noframes noscript
   object option param plaintext script select source style svg template textarea title track video xmp`.split(/\s+/),
);
const ATTRIBUTES: Record<string, RegExp> = {
  class: /^[a-z -]{1,80}$/,
  colspan: /^\d{1,3}$/,
  rowspan: /^\d{1,3}$/,
  scope: /^(row|col)$/,
  title: /^[\s\S]{0,500}$/,
  alt: /^[\s\S]{0,500}$/,
  open: /^(open)?$/,
  value: /^-?[\d.]{1,20}$/,
  max: /^[\d.]{1,20}$/,
  href: /^(https?:\/\/|mailto:|#)[^\s]*$/i,
  src: /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+$/,
};

function attributes(element: Element): string {
  const kept: string[] = [];
  for (const { name, value } of Array.from(element.attributes)) {
    if (name === "href" && element.localName !== "a") continue;
    if (name === "src" && element.localName !== "img") continue;
    if (Object.hasOwn(ATTRIBUTES, name) && ATTRIBUTES[name].test(value)) kept.push(` ${name}="${escapeHtml(value)}"`);
  }
  return element.localName === "a" ? `${kept.join("")} rel="noreferrer"` : kept.join("");
}

function write(node: Node): string {
  if (node.nodeType === 3) return escapeHtml(node.nodeValue ?? "");
  if (node.nodeType !== 1 && node.nodeType !== 11) return "";
  const element = node as Element;
  const name = element.localName;
  if (DROPPED.has(name)) return "";
  const inner = (): string => Array.from(node.childNodes).map(write).join("");
  const isHtml = element.namespaceURI === "http://www.w3.org/1999/xhtml";
  if (!isHtml || !ELEMENTS.has(name)) return inner();
  if (name === "img" && !ATTRIBUTES.src.test(element.getAttribute("src") ?? "")) return "";
  return EMPTY.has(name) ? `<${name}${attributes(element)}>` : `<${name}${attributes(element)}>${inner()}</${name}>`;
}

/**
 * `html` with only harmless elements and attributes left; plain text in it stays as it was.
 *
 * @example
 * sanitiseHtml('<b onclick="x()">4</b><script>y()</script>'); // "<b>4</b>"
 */
export function sanitiseHtml(html: string): string {
  const { JSDOM } = require("jsdom") as typeof import("jsdom");
  return write(JSDOM.fragment(html));
}
