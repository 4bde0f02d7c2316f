/** The house keeps its order: every import in kernel-lib/src goes to a lower level of the table in kernel-lib/levels.json. */
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "..");
const source = path.join(root, "kernel-lib/src");
const levels = JSON.parse(fs.readFileSync(path.join(root, "kernel-lib/levels.json"), "utf8")) as string[][];
const levelOf = new Map(levels.flatMap((modules, level) => modules.map((name) => [name, level] as const)));

/** A module is a file of src, together with the folder of the same name. */
function moduleOf(file: string): string {
  return path.relative(source, file).split(path.sep)[0].replace(/\.ts$/, "");
}

function sourceFiles(folder: string): string[] {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) return sourceFiles(full);
    return entry.name.endsWith(".ts") ? [full] : [];
  });
}

function importsOf(file: string): string[] {
  const text = fs.readFileSync(file, "utf8");
  const targets = [...text.matchAll(/(?:from|import|require\()\s*"(\.[^"]*)"/g)].map(([, target]) =>
    path.resolve(path.dirname(file), target),
  );
  return targets.filter((target) => target.startsWith(source)); // kernel-lib/jupyter holds plain scripts, not modules
}

const files = sourceFiles(source);

describe("architecture", () => {
  it("has a level for every module and a module for every level entry", () => {
    const modules = [...new Set(files.map(moduleOf))].sort();
    expect(modules).toEqual([...levelOf.keys()].sort());
  });

  it("imports only downwards", () => {
    const wrong: string[] = [];
    for (const file of files) {
      const from = moduleOf(file);
      for (const target of importsOf(file)) {
        const to = moduleOf(target);
        const goesDown = (levelOf.get(to) ?? Infinity) < (levelOf.get(from) ?? -1);
        if (to !== from && !goesDown) wrong.push(`${path.relative(root, file)} -> ${to}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("lets one module touch the addon", () => {
    const users = files.filter((file) => fs.readFileSync(file, "utf8").includes('"@steerlab/native"'));
    expect([...new Set(users.map(moduleOf))]).toEqual(["native"]);
  });

  it("never calls Math.random, and leaves the process alone outside the command line", () => {
    for (const file of files) {
      const text = fs.readFileSync(file, "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
      expect(text.includes("Math.random"), file).toBe(false);
      expect(/process\.exit\(/.test(text), file).toBe(false);
    }
  });

  it("includes napi.h in the addon's own files only", () => {
    const native = path.join(root, "gpu-native/src");
    const users = fs
      .readdirSync(native)
      .filter((name) => /\.(cpp|h)$/.test(name) && fs.readFileSync(path.join(native, name), "utf8").includes("napi.h"));
    expect(users.length).toBeGreaterThan(0);
    for (const name of users) expect(name).toMatch(/^addon/);
  });
});
