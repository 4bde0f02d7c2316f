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

describe("README", () => {
  it("names only files and folders that exist, each with a description", () => {
    for (const { entry, line } of fileMap()) {
      expect(fs.existsSync(path.join(root, entry)), entry).toBe(true);
      expect(line.length, line).toBeGreaterThan(entry.length + 8);
    }
  });

  it("has a line for every module of the library and every room below the top level", () => {
    const named = new Set(fileMap().map(({ entry }) => entry.replace(/\/$/, "")));
    const modules = fs
      .readdirSync(path.join(root, "kernel-lib/src"), { withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
      .map((entry) => `kernel-lib/src/${entry.name}`);
    const rooms = ["notebooks", "kernel-lib", "data", "gpu-native", "test"].flatMap((top) =>
      fs
        .readdirSync(path.join(root, top), { withFileTypes: true })
        .filter(
          (entry) =>
            entry.isDirectory() && !["node_modules", "dist", "build", ".ipynb_checkpoints"].includes(entry.name),
        )
        .map((entry) => `${top}/${entry.name}`),
    );
    const missing = [...modules, ...rooms].filter((entry) => !named.has(entry));
    expect(missing).toEqual([]);
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
