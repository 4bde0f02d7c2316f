// The page shell: hostile text stays text, the policy's hashes are those of the scripts, figures need a slot.
import { createHash } from "node:crypto";
import { JSDOM } from "jsdom";
import { describe, expect, it } from "vitest";
import { escapeHtml, figureSlot, renderPage, scriptJson } from "../../kernel-lib/src/page";

const HOSTILE = `</script><script>alert(1)</script><img src=x onerror="alert(2)">&amp;'\u2028\u2029<!--`;

function pageWith(text: string): string {
  return renderPage({
    title: text,
    bodyHtml: `<h1>${escapeHtml(text)}</h1>${figureSlot("f", text)}`,
    figures: [{ id: "f", figure: { data: [{ type: "scatter", y: [1, 2], name: text }], layout: { title: { text } } } }],
    footer: text,
  });
}

describe("renderPage", () => {
  it("keeps hostile text as text everywhere and adds no script of its making", () => {
    const { document } = new JSDOM(pageWith(HOSTILE)).window;
    expect(document.querySelectorAll("script")).toHaveLength(3);
    expect(document.querySelectorAll("img")).toHaveLength(0);
    expect(document.querySelector("h1")?.textContent).toBe(HOSTILE);
    expect(document.title).toBe(HOSTILE);
    const figure = JSON.parse(document.querySelector("script[data-for]")?.textContent ?? "");
    expect(figure.data[0].name).toBe(HOSTILE);
  });

  it("allows exactly the scripts it holds, by hash", () => {
    const { document } = new JSDOM(pageWith("plain")).window;
    const policy = document.querySelector("meta[http-equiv]")?.getAttribute("content") ?? "";
    expect(policy).toMatch(/^default-src 'none';/);
    expect(policy).not.toMatch(/script-src[^;]*unsafe/);
    const allowed = [...policy.matchAll(/'sha256-([^']+)'/g)].map((match) => match[1]);
    const executable = [...document.querySelectorAll("script:not([type])")].map((script) =>
      createHash("sha256")
        .update(script.textContent ?? "", "utf8")
        .digest("base64"),
    );
    expect(allowed).toEqual(executable);
    expect(executable).toHaveLength(2);
  });

  it("names no other host, and forbids scripts when there are no figures", () => {
    const html = renderPage({ title: "t", bodyHtml: "<p>x</p>" });
    expect(html).toContain("script-src 'none'");
    expect(html).not.toMatch(/<script/);
    expect(html.length).toBeLessThan(20_000);
    expect(html).not.toMatch(/https?:/);
  });

  it("refuses a figure without a slot, twice the same id, and ids that could break out", () => {
    const figure = { data: [] };
    expect(() => renderPage({ title: "t", bodyHtml: "", figures: [{ id: "a", figure }] })).toThrow(/slot for every/);
    const two = [
      { id: "a", figure },
      { id: "a", figure },
    ];
    expect(() => renderPage({ title: "t", bodyHtml: figureSlot("a", "A"), figures: two })).toThrow(/unique figure ids/);
    expect(() => figureSlot('a"><script>', "A")).toThrow(/figure id/);
  });

  it("gives the same bytes for the same options", () => {
    expect(pageWith("same")).toBe(pageWith("same"));
  });
});

describe("headings", () => {
  const body = (...titles: string[]): string => titles.map((title) => `<h2>${title}</h2><p>text</p>`).join("");
  const documentOf = (bodyHtml: string): Document => new JSDOM(renderPage({ title: "t", bodyHtml })).window.document;

  it("get anchors that differ, also where titles are the same or an id is taken", () => {
    const page = documentOf(
      `<p id="s-loss"></p>${body("Loss", "Loss", "<code>a</code> &amp; b")}<h3>&amp;</h3><h3 id="own" class="x">Own</h3>`,
    );
    const ids = [...page.querySelectorAll("h2, h3")].map(({ id }) => id);
    expect(ids).toEqual(["s-loss-2", "s-loss-3", "s-a-b", "s-section", "own"]);
    for (const id of ids) expect(page.querySelector(`a.anchor[href="#${id}"]`)).not.toBeNull();
    expect(page.querySelector(".contents")).toBeNull();
  });

  it("are listed before the first where there are four or more, with their text as it is", () => {
    const page = documentOf(`<h1>T</h1><p>lead</p>${body("A", "B &lt;i&gt; $& $1", "C", "D")}`);
    const items = [...page.querySelectorAll(".contents li")].map(({ textContent }) => textContent);
    expect(items).toEqual(["A", "B <i> $& $1", "C", "D"]);
    expect(page.querySelector("nav")?.nextElementSibling?.textContent).toMatch(/^A/);
  });
});

describe("scriptJson", () => {
  it("round-trips and holds nothing an HTML or old JavaScript parser reacts to", () => {
    const json = scriptJson({ text: HOSTILE });
    expect(json).not.toMatch(/[<>&\u2028\u2029]/);
    expect(JSON.parse(json)).toEqual({ text: HOSTILE });
  });

  it("refuses what JSON cannot say", () => {
    expect(() => scriptJson(undefined)).toThrow(TypeError);
  });
});
