/**
 * Every file under data/ has a row in data/README.md with its true SHA-256, and no row is about a file that is gone. A row of a folder
 * ("name/") stands for all files below it: its hash is of their names and hashes.
 */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";

const data = path.resolve(import.meta.dirname, "../data");

function filesUnder(folder: string): string[] {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === "__pycache__" ? [] : filesUnder(full);
    return [path.relative(data, full)];
  });
}

/** Rows "| path | what | source | made by | read by | sha256 (first 16) |". */
const rows = [...fs.readFileSync(path.join(data, "README.md"), "utf8").matchAll(/^\| `([^`]+)` \|(.+)\|$/gm)].map(
  ([, file, rest]) => ({
    file,
    cells: rest.split("|").map((cell) => cell.trim()),
  }),
);

const sha256 = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex");
const hashOf = (file: string): string =>
  file.endsWith("/")
    ? sha256(
        filesUnder(path.join(data, file))
          .sort()
          .map((name) => `${name} ${hashOf(name)}\n`)
          .join(""),
      )
    : sha256(fs.readFileSync(path.join(data, file)));

describe("data/README.md", () => {
  it("has one row for every file and none for others", () => {
    const folders = rows.map(({ file }) => file).filter((file) => file.endsWith("/"));
    const alone = filesUnder(data).filter((file) => !folders.some((folder) => file.startsWith(folder)));
    for (const folder of folders) expect(filesUnder(path.join(data, folder)).length, folder).toBeGreaterThan(0);
    const files = [...folders, ...alone.filter((file) => file !== "README.md")];
    expect(rows.map(({ file }) => file).sort()).toEqual(files.sort());
  });

  it("says what each file is, where it comes from, who makes and who reads it", () => {
    for (const { file, cells } of rows) {
      expect(cells.length, file).toBe(5);
      for (const cell of cells) expect(cell.length, file).toBeGreaterThan(2);
    }
  });

  it("names readers that are there and that name the file, themselves or through a protocol", () => {
    const root = path.dirname(data);
    const protocols = ["strict", "card"].map((name) =>
      fs.readFileSync(path.join(data, "protocols", `${name}.yaml`), "utf8"),
    );
    for (const { file, cells } of rows) {
      const reader = cells[3];
      if (reader === "people") continue;
      const found = ["", "kernel-lib/src", "data"].map((at) => path.join(root, at, reader)).find(fs.existsSync);
      expect(found, `${file}: ${reader}`).toBeDefined();
      if (!reader.endsWith(".ts")) continue;
      const words = path.basename(file).replace(/^(strict|card)\.yaml$/, "protocols");
      const texts = [fs.readFileSync(found as string, "utf8"), ...protocols];
      expect(
        texts.some((text) => text.includes(words)),
        `${file}: ${reader}`,
      ).toBe(true);
    }
  });

  it("gives the true SHA-256 of each file", () => {
    for (const { file, cells } of rows) expect(cells[4], file).toBe(`\`${hashOf(file).slice(0, 16)}\``);
  });
});
