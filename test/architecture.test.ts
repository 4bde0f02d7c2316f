/**
 * The house keeps its order. kernel-lib/rooms.json lists the rooms from the ground up: an import goes to a lower room, through its
 * door (index.ts), and test/kernel-lib mirrors the rooms.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "..");
const source = path.join(root, "kernel-lib/src");
const rooms = Object.keys(JSON.parse(fs.readFileSync(path.join(root, "kernel-lib/rooms.json"), "utf8")));

function sourceFiles(folder: string): string[] {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) return sourceFiles(full);
    return entry.name.endsWith(".ts") ? [full] : [];
  });
}

/** First folder below src; "index.ts" for the library's own door. */
function roomOf(file: string): string {
  return path.relative(source, file).split(path.sep)[0];
}

/** Relative imports that stay in src, as absolute paths without extension. */
function importsOf(file: string): string[] {
  const text = fs.readFileSync(file, "utf8");
  const targets = [...text.matchAll(/(?:from|import|require\(|import\()\s*"(\.[^"]*)"/g)].map(([, target]) =>
    path.resolve(path.dirname(file), target),
  );
  return targets.filter((target) => target.startsWith(source));
}

const files = sourceFiles(source);

describe("architecture", () => {
  it("has a door and a line for every room, and nothing else on top", () => {
    const entries = fs.readdirSync(source).filter((name) => name !== "index.ts");
    expect(entries.sort()).toEqual([...rooms].sort());
    for (const room of rooms) expect(fs.existsSync(path.join(source, room, "index.ts")), room).toBe(true);
  });

  it("imports only from lower rooms, and only through their doors", () => {
    const wrong: string[] = [];
    for (const file of files) {
      const from = roomOf(file);
      for (const target of importsOf(file)) {
        const to = roomOf(target);
        if (to === from) continue;
        const lower = from === "index.ts" || rooms.indexOf(to) < rooms.indexOf(from);
        const door = target === path.join(source, to);
        if (!lower || !door) wrong.push(`${path.relative(source, file)} -> ${path.relative(source, target)}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("exports from doors only, name by name", () => {
    for (const file of files) {
      const text = fs.readFileSync(file, "utf8");
      expect(/^export \*/m.test(text), file).toBe(false);
      if (path.basename(file) !== "index.ts") expect(/^export [^;]* from "/m.test(text), file).toBe(false);
    }
  });

  it("has a test folder of the same name wherever a room has tests", () => {
    const folders = fs
      .readdirSync(path.join(root, "test/kernel-lib"), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
    expect(folders.filter((name) => !rooms.includes(name))).toEqual([]);
  });

  it("lets tests in through doors too", () => {
    const wrong = sourceFiles(path.join(root, "test")).flatMap((file) =>
      importsOf(file)
        .filter((target) => path.relative(source, target).includes(path.sep))
        .map((target) => `${path.relative(root, file)} -> ${path.relative(source, target)}`),
    );
    expect(wrong).toEqual([]);
  });

  it("computes where the project lies once", () => {
    const users = files.filter((file) => fs.readFileSync(file, "utf8").includes("__dirname"));
    expect(users.map((file) => path.relative(source, file))).toEqual([path.join("base", "project.ts")]);
  });

  it("lets one room touch the addon", () => {
    const users = files.filter((file) => fs.readFileSync(file, "utf8").includes('"@steerlab/native"'));
    expect([...new Set(users.map(roomOf))]).toEqual(["engine"]);
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
