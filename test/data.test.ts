/** Every file under data/ has a row in data/README.md with its true SHA-256, and no row is about a file that is gone. */
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

describe("data/README.md", () => {
  it("has one row for every file and none for others", () => {
    const files = filesUnder(data).filter((file) => file !== "README.md");
    expect(rows.map(({ file }) => file).sort()).toEqual(files.sort());
  });

  it("says what each file is, where it comes from, who makes and who reads it", () => {
    for (const { file, cells } of rows) {
      expect(cells.length, file).toBe(5);
      for (const cell of cells) expect(cell.length, file).toBeGreaterThan(2);
    }
  });

  it("gives the true SHA-256 of each file", () => {
    for (const { file, cells } of rows) {
      const hash = createHash("sha256")
        .update(fs.readFileSync(path.join(data, file)))
        .digest("hex");
      expect(cells[4], file).toBe(`\`${hash.slice(0, 16)}\``);
    }
  });
});
