// Executed notebooks as pages: nothing hostile survives, nothing of the output is lost.
import { JSDOM } from "jsdom";
import { describe, expect, it } from "vitest";
import {
  type NotebookFile,
  type NotebookOutput,
  notebookToHtml,
  sanitiseHtml,
  terminalText,
} from "../../kernel-lib/src/notebook";

const HOSTILE = `</script><script>alert(1)</script><img src=x onerror="alert(2)">\u2028</code></pre><svg onload=alert(3)>`;

function page(outputs: NotebookOutput[], source = "1", metadata: NotebookFile["metadata"] = {}): Document {
  const file = { cells: [{ cell_type: "code", source, execution_count: 1, outputs }], metadata };
  return new JSDOM(notebookToHtml(file)).window.document;
}

describe("notebookToHtml", () => {
  it("keeps hostile text as text in source, streams, errors, Markdown, plain text, parameters and figures", () => {
    const file: NotebookFile = {
      metadata: { papermill: { parameters: { [HOSTILE]: HOSTILE } } },
      cells: [
        { cell_type: "markdown", source: `# ${HOSTILE}\n[x](javascript:alert(1)) ![y](https://example.org/p.png)` },
        {
          cell_type: "code",
          source: HOSTILE,
          execution_count: 1,
          outputs: [
            { output_type: "stream", name: "stdout", text: [HOSTILE, "\n", HOSTILE] },
            { output_type: "error", ename: HOSTILE, evalue: HOSTILE, traceback: [HOSTILE] },
            { output_type: "display_data", data: { "text/plain": HOSTILE } },
            { output_type: "display_data", data: { "text/html": HOSTILE } },
            { output_type: "display_data", data: { "text/markdown": HOSTILE } },
            { output_type: "display_data", data: { "image/png": `AAAA" onerror="alert(4)` } },
            {
              output_type: "execute_result",
              data: {
                "application/vnd.plotly.v1+json": {
                  data: [{ type: "bar", name: HOSTILE }],
                  layout: { title: { text: HOSTILE } },
                },
                "text/plain": HOSTILE,
              },
            },
          ],
        },
      ],
    };
    const { document } = new JSDOM(notebookToHtml(file)).window;
    expect(document.querySelectorAll("script:not([type])")).toHaveLength(2);
    expect(document.querySelectorAll("svg, iframe, object")).toHaveLength(0);
    for (const element of document.querySelectorAll("*")) {
      for (const { name, value } of Array.from(element.attributes)) {
        expect(name).not.toMatch(/^on/);
        if (name === "href" || name === "src") expect(value).not.toMatch(/^javascript:/i);
      }
    }
    expect([...document.querySelectorAll("img")].every((image) => image.src.startsWith("data:image/"))).toBe(true);
    expect(document.querySelector("pre code")?.textContent).toBe(HOSTILE);
    expect(document.querySelector(".output > pre")?.textContent).toBe(`${HOSTILE}\n${HOSTILE}`);
    expect(document.querySelector(".error strong")?.textContent).toBe(`${HOSTILE}: ${HOSTILE}`);
  });

  it("draws the figure rather than its picture, and inlines plotly once for many", () => {
    const figure: NotebookOutput = {
      output_type: "display_data",
      data: {
        "application/vnd.plotly.v1+json": { data: [{ type: "bar", y: [1] }] },
        "image/png": "AAAA",
        "text/plain": "Figure: A",
      },
    };
    const document = page([figure, figure, figure]);
    expect(document.querySelectorAll("script[data-for]")).toHaveLength(3);
    expect(document.querySelectorAll(".plot")).toHaveLength(3);
    expect(document.querySelectorAll("script:not([type])")).toHaveLength(2);
    expect(document.querySelector(".plot")?.getAttribute("aria-label")).toBe("Figure: A");
    expect(document.querySelectorAll("img")).toHaveLength(0);
  });

  it("marks a failed notebook, opens the failing code and points at it", () => {
    const document = page([
      {
        output_type: "error",
        ename: "RangeError",
        evalue: "x",
        traceback: ["\u001b[31mRangeError\u001b[0m: x", "    at cell"],
      },
    ]);
    expect(document.querySelector(".badge.bad")?.textContent).toBe("failed");
    expect(document.querySelector("#error details")?.hasAttribute("open")).toBe(true);
    expect(document.querySelector(".error pre")?.textContent).toBe("    at cell");
  });

  it("leaves out the marks that papermill adds", () => {
    const cell = {
      cell_type: "markdown",
      source: "<span style='color:red'>An Exception",
      metadata: { tags: ["papermill-error-cell-tag"] },
    };
    expect(notebookToHtml({ cells: [cell], metadata: {} })).not.toContain("An Exception");
  });

  it("names no other host", () => {
    const html = notebookToHtml({ cells: [{ cell_type: "markdown", source: "# T" }], metadata: {} });
    expect(html).not.toMatch(/https?:\/\//);
  });
});

describe("sanitiseHtml", () => {
  it("keeps our tables as they are", () => {
    const table =
      '<div class="scroll"><table><caption>c</caption><thead><tr><th class="number">a</th></tr></thead><tbody><tr><td colspan="2">&lt;x&gt;</td></tr></tbody></table></div>';
    expect(sanitiseHtml(table)).toBe(table);
  });

  it.each([
    ['<b onclick="x()">4</b><script>y()</script>', "<b>4</b>"],
    ['<a href="javascript:x()">l</a>', '<a rel="noreferrer">l</a>'],
    ['<a href=" jav&#x09;ascript:x()">l</a>', '<a rel="noreferrer">l</a>'],
    [
      '<a href="https://example.org/?a=1&b=2">l</a>',
      '<a href="https://example.org/?a=1&amp;b=2" rel="noreferrer">l</a>',
    ],
    ["<svg><style><img src=x onerror=alert(1)></style></svg>t", "t"],
    ['<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">', ""],
    ['<img src="https://example.org/p.png">', ""],
    ['<img src="data:image/png;base64,AAAA" onload="x()">', '<img src="data:image/png;base64,AAAA">'],
    ['<img src="data:image/svg+xml;base64,AAAA">', ""],
    ['<div style="background:url(https://example.org)" id="error">t</div>', "<div>t</div>"],
    ["<custom-element><p>kept</p></custom-element>", "<p>kept</p>"],
    [
      "<template><script>x()</script></template><noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
      "&#39;&gt;",
    ],
    ["<!-- c --><form action=x><input></form>", ""],
    ['<p class="x&quot;y">t</p>', "<p>t</p>"],
    ['<progress value="3" max="9"></progress>', '<progress value="3" max="9"></progress>'],
  ])("%s", (input, output) => {
    expect(sanitiseHtml(input)).toBe(output);
  });

  it("is stable: cleaning twice changes nothing", () => {
    const once = sanitiseHtml('<p>a<b>c</p><td>d<a href="#e">f');
    expect(sanitiseHtml(once)).toBe(once);
  });
});

describe("terminalText", () => {
  it("shows what a terminal would show", () => {
    expect(terminalText("a 1 %\ra 2 %\ra 3 %\nnext\r\n\u001b[1;32mok\u001b[0m")).toBe("a 3 %\nnext\nok");
  });
});
