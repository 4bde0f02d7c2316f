/**
 * Comments and documents name files that are there. In the library a bare name is a file of the same room, a path with a folder
 * ends the path of some file of the repository; elsewhere any file of that name or path will do.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "..");
/** Made by builds, set-up and runs. */
const MADE = ["node_modules", "dist", "build", "runs", "__pycache__"];

function filesUnder(folder: string): string[] {
  return fs.readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) return MADE.includes(entry.name) || entry.name.startsWith(".") ? [] : filesUnder(name);
    return [name];
  });
}

const files = filesUnder("");

/** Of other projects, of a run folder, or made by the reader. */
const ELSEWHERE = [
  "llama.cpp",
  "constants.py",
  "docs/gguf.md",
  "prctl.h",
  "napi.h",
  "protocol.yaml",
  "train.yaml",
  "mine.yaml",
  "study.yaml",
  "flipped.yaml",
];
const NAMED =
  /(?<![\w.*<{$/-])((?:[\w@-]+\/)*[\w-]+(?:\.[\w-]+)*\.(?:ts|mts|mjs|cjs|py|cpp|cuh?|h|md|yaml))\b(?![\w/(])/g;

/** Text of comments, or of a whole document. */
function prose(file: string): string {
  const text = fs.readFileSync(path.join(root, file), "utf8");
  if (file.endsWith(".md")) return text;
  if (/\.(py|yaml)$/.test(file))
    return [...text.matchAll(/(?:^|\s)#(.*)$|"""([\s\S]*?)"""/gm)].map(([found]) => found).join("\n");
  return [...text.matchAll(/\/\*[\s\S]*?\*\/|(?:^|\s)\/\/(.*)$/gm)].map(([found]) => found).join("\n");
}

/** Example lines of docstrings name files of the reader. */
const withoutExamples = (text: string): string => text.replace(/@example[\s\S]*?(?=\n\s*\* @|\*\/|$)/g, "");

function isThere(name: string, file: string): boolean {
  if (ELSEWHERE.some((known) => name === known || name.endsWith(`/${known}`))) return true;
  const found = files.filter((known) => known === name || known.endsWith(`/${name}`));
  const [, room] = /^kernel-lib\/src\/(\w+)\//.exec(file) ?? [];
  if (room === undefined || name.includes("/")) return found.length > 0;
  return found.some((known) => known.startsWith(`kernel-lib/src/${room}/`) || !known.startsWith("kernel-lib/src/"));
}

describe("comments and documents", () => {
  it("name files that are there", () => {
    const named = files.filter(
      (name) => /\.(ts|mts|mjs|cjs|py|cpp|cuh?|h|md|yaml)$/.test(name) && name !== "CHANGELOG.md",
    );
    expect(named.length).toBeGreaterThan(300);
    const gone = named.flatMap((file) =>
      [...withoutExamples(prose(file)).matchAll(NAMED)]
        .filter(([, name]) => !isThere(name, file))
        .map(([, name]) => `${file}: ${name}`),
    );
    expect(gone).toEqual([]);
  });
});
