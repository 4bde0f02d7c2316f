/** The README's file map names what is there, and every room of the house stands in it. */
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "..");
const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");

/** Lines "path   what it is" of the fenced block after the heading "File map". */
function fileMap(): { entry: string; line: string }[] {
  const block = /## File map\n[^`]*```\n([\s\S]*?)```/.exec(readme);
  if (block === null) throw new Error('README.md has no fenced block under "## File map".');
  return block[1]
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => ({ entry: line.trim().split(/\s{2,}/)[0], line: line.trim() }));
}

/** Left by builds and notebooks; not part of the project. */
const UNTRACKED = ["node_modules", "dist", "build", ".ipynb_checkpoints"];

describe("README", () => {
  it("names only files and folders that exist, each with a description", () => {
    for (const { entry, line } of fileMap()) {
      expect(fs.existsSync(path.join(root, entry)), entry).toBe(true);
      expect(line.length, line).toBeGreaterThan(entry.length + 8);
    }
  });

  it("has one line for every room of the library and every folder below the top level", () => {
    const named = fileMap().map(({ entry }) => entry.replace(/\/$/, ""));
    const folders = ["notebooks", "kernel-lib", "kernel-lib/src", "data", "gpu-native", "test"].flatMap((top) =>
      fs
        .readdirSync(path.join(root, top), { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && !entry.name.startsWith(".") && !UNTRACKED.includes(entry.name))
        .map((entry) => `${top}/${entry.name}`),
    );
    const withoutSource = folders.filter((folder) => folder !== "kernel-lib/src");
    expect(withoutSource.filter((folder) => named.filter((name) => name === folder).length !== 1)).toEqual([]);
  });

  it("gives the two commands that do all the set-up", () => {
    expect(readme).toContain("npm ci && npm start");
    expect(readme).toContain("npm ci && npm test");
  });

  it("points only at pictures and files that are in the repository", () => {
    for (const [, target] of readme.matchAll(/\]\((?!https?:|#)([^)]+)\)/g)) {
      expect(fs.existsSync(path.join(root, target)), target).toBe(true);
    }
  });
});
