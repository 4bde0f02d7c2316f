/** A lock has one living holder, known by number, start and machine; what a dead one left is taken over. */
import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { tryLock } from "../../../kernel-lib/src/files";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "lock-"));
const project = path.resolve(import.meta.dirname, "../../..");
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let file: string;
let count = 0;
beforeEach(() => {
  file = path.join(root, `${count++}.lock`);
});

const startOf = (pid: number): string | null =>
  fs.existsSync("/proc/self/stat")
    ? (fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ")[19] ?? null)
    : null;

describe("tryLock", () => {
  it("is held once, says by whom, and leaves nothing when released", () => {
    const lock = tryLock(file);
    expect(lock).toMatchObject({ held: true, tookOver: false });
    expect(JSON.parse(fs.readFileSync(file, "utf8"))).toEqual({
      pid: process.pid,
      start: startOf(process.pid),
      host: os.hostname(),
    });
    expect(tryLock(file)).toEqual({ held: false, holder: `process ${process.pid}` });
    if (lock.held) lock.release();
    expect(fs.readdirSync(root)).toEqual([]);
    expect(tryLock(file).held).toBe(true);
    fs.rmSync(file);
  });

  it.each([
    [
      "a process that is gone",
      () => ({ pid: spawnSync(process.execPath, ["-e", ""]).pid, start: null, host: os.hostname() }),
    ],
    ["a number that is used again", () => ({ pid: process.ppid, start: "1", host: os.hostname() })],
    ["another machine", () => ({ pid: process.ppid, start: startOf(process.ppid), host: "elsewhere" })],
    ["a bare number, as older versions wrote it", () => 1],
    ["half a claim", () => null],
  ])("is taken over from %s", (_name, claim) => {
    fs.writeFileSync(file, claim() === null ? '{"pid"' : JSON.stringify(claim()));
    expect(tryLock(file)).toMatchObject({ held: true, tookOver: true });
    expect(fs.readdirSync(root)).toEqual([path.basename(file)]);
    fs.rmSync(file);
  });

  it("goes to one of many processes that want a dead one's at once", async () => {
    const dead = { pid: spawnSync(process.execPath, ["-e", ""]).pid, start: null, host: os.hostname() };
    fs.writeFileSync(file, JSON.stringify(dead));
    const go = path.join(root, "go");
    const script = `const fs = require("fs"); const { tryLock } = require("./kernel-lib/dist/files");
      while (!fs.existsSync(process.argv[2])); console.log(tryLock(process.argv[1]).held); setTimeout(() => {}, 1500);`;
    const outcomes = Array.from({ length: 4 }, () => {
      const child = spawn(process.execPath, ["-e", script, file, go], { cwd: project });
      return new Promise<string>((done) => {
        let text = "";
        child.stdout.on("data", (chunk) => (text += chunk));
        child.on("close", () => done(text.trim()));
      });
    });
    setTimeout(() => fs.writeFileSync(go, ""), 1000);
    expect((await Promise.all(outcomes)).sort()).toEqual(["false", "false", "false", "true"]);
  });
});
