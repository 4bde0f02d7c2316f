/** Where outputs go and inputs come from: what is no regular file is written through or refused, never replaced or waited for. */
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { createRequire, syncBuiltinESMExports } from "node:module";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  commitPartial,
  destinationOf,
  JsonlWriter,
  partialPath,
  prepareFile,
  readJsonl,
  readSafetensorsHeader,
  readText,
  readYaml,
  sha256File,
  writeFileAtomic,
  writeParquet,
  writeSafetensors,
} from "../../../kernel-lib/src/files";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "destination-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let folder: string;
let count = 0;
beforeEach(() => {
  folder = path.join(root, String(count++));
  fs.mkdirSync(folder);
});
const at = (...names: string[]): string => path.join(folder, ...names);
const pipe = (name: string): string => {
  execFileSync("mkfifo", [at(name)]);
  return at(name);
};

/** Every writer that renames into place. */
const WRITERS: [string, (file: string) => void][] = [
  ["writeFileAtomic", (file) => writeFileAtomic(file, "new\n")],
  ["writeSafetensors", (file) => writeSafetensors(file, { a: { dtype: "F32", shape: [1], data: [1] } })],
  ["writeParquet", (file) => writeParquet(file, [{ a: 1 }])],
  [
    "partialPath and commitPartial",
    (file) => {
      const partial = partialPath(file);
      fs.writeFileSync(partial, "new\n");
      commitPartial(partial, file);
    },
  ],
];

describe.each(WRITERS)("%s", (_name, write) => {
  it("replaces a file, and follows links to what they lead to, which stay links", () => {
    write(at("plain"));
    const content = fs.readFileSync(at("plain"));
    fs.mkdirSync(at("elsewhere"));
    fs.writeFileSync(at("elsewhere", "old"), "old");
    fs.symlinkSync("elsewhere/old", at("one"));
    fs.symlinkSync(at("one"), at("two"));
    fs.symlinkSync("elsewhere/absent", at("dangling"));
    write(at("two"));
    write(at("dangling"));
    expect(["one", "two", "dangling"].every((name) => fs.lstatSync(at(name)).isSymbolicLink())).toBe(true);
    expect(fs.readFileSync(at("elsewhere", "old"))).toEqual(content);
    expect(fs.readFileSync(at("elsewhere", "absent"))).toEqual(content);
    expect(fs.readdirSync(at("elsewhere")).sort()).toEqual(["absent", "old"]);
  });

  it("writes a device through and leaves it a device", () => {
    fs.symlinkSync("/dev/zero", at("zero"));
    for (const file of ["/dev/zero", at("zero")]) write(file);
    expect(fs.lstatSync("/dev/zero").isCharacterDevice()).toBe(true);
    expect(fs.lstatSync(at("zero")).isSymbolicLink()).toBe(true);
    expect(fs.readdirSync(folder)).toEqual(["zero"]);
  });

  it("refuses folders, named pipes, sockets and circles in one sentence, and leaves them alone", async () => {
    fs.mkdirSync(at("folder"));
    fs.symlinkSync("folder", at("link"));
    fs.symlinkSync("circle", at("circle"));
    pipe("pipe");
    const server = net.createServer().listen(at("socket"));
    await new Promise((done) => server.once("listening", done));
    const before = fs.readdirSync(folder);
    for (const [name, kind] of [
      ["folder", /There is a folder of this name/],
      ["link", /There is a folder/],
      ["pipe", /There is a named pipe of this name\. Write to \/dev\/stdout/],
      ["socket", /There is a socket/],
      ["circle", /a link that leads in circles/],
    ] as const)
      expect(() => write(at(name))).toThrowError(
        expect.objectContaining({ code: "out-kind", message: expect.stringMatching(kind) }),
      );
    expect(fs.readdirSync(folder)).toEqual(before);
    expect(fs.lstatSync(at("pipe")).isFIFO()).toBe(true);
    server.close();
  });

  it("names a full disk and a place that is none, with the way on", () => {
    const failure = (code: string, message: RegExp) =>
      expect.objectContaining({ code, message: expect.stringMatching(message) });
    expect(() => write("/dev/full")).toThrowError(
      failure(
        "disk-full",
        /room on the disk for \/dev\/full but received "ENOSPC"\. Free some space.*run the same again/,
      ),
    );
    fs.writeFileSync(at("file"), "");
    expect(() => write(at("file", "below"))).toThrowError(failure("out-folder", /file/));
    expect(fs.readFileSync(at("file"), "utf8")).toBe("");
  });
});

it("names a place where no file can be made, and one whose folder is a file", () => {
  for (const write of [writeFileAtomic, (file: string) => new JsonlWriter(file)]) {
    for (const file of ["/proc/foo", "/proc/foo/bar", "/sys/foo"])
      expect(() => write(file, "")).toThrowError(expect.objectContaining({ code: "out-folder" }));
  }
});

describe("a descriptor of this process", () => {
  const script = `require("./kernel-lib/dist/files").writeFileAtomic(process.argv[1], "new\\n")`;
  const project = path.resolve(import.meta.dirname, "../../..");

  it.each(["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])("is written through: %s", (name) => {
    expect(spawnSync(process.execPath, ["-e", script, name], { cwd: project, encoding: "utf8" }).stdout).toBe("new\n");
    fs.writeFileSync(at("log"), "old\n");
    fs.symlinkSync(name, at("link"));
    const line = `"$0" -e '${script}' "$1" >> "$2"; "$0" -e '${script}' "$1" | cat >> "$2"`;
    spawnSync("bash", ["-c", line, process.execPath, at("link"), at("log")], { cwd: project });
    expect(fs.readFileSync(at("log"), "utf8")).toBe("old\nnew\nnew\n");
  });
});

describe("prepareFile", () => {
  it("makes the folder, accepts what can be written, and refuses the rest before any work", () => {
    expect(prepareFile(at("a", "b", "out"), "--out")).toEqual([at("a"), at("a", "b")]);
    expect(prepareFile("/dev/zero", "--out")).toEqual([]);
    fs.mkdirSync(at("folder"));
    for (const [file, code] of [
      [at("folder"), "out-kind"],
      ["/proc/foo", "out-folder"],
      ["/proc/foo/bar", "out-folder"],
      ["/sys/out", "out-folder"],
    ])
      expect(() => prepareFile(file, "--out")).toThrowError(
        expect.objectContaining({ code, message: expect.stringMatching(/for --out but received/) }),
      );
  });

  it.skipIf(process.getuid?.() === 0)("refuses a folder that may not be written", () => {
    fs.mkdirSync(at("locked"), { mode: 0o500 });
    expect(() => prepareFile(at("locked", "out"), "--out")).toThrowError(
      expect.objectContaining({ code: "out-folder" }),
    );
  });

  it("tells a folder from a file", () => {
    fs.mkdirSync(at("folder"));
    expect(destinationOf(at("folder"), "out", "folder")).toEqual({ how: "replace", file: at("folder") });
    fs.writeFileSync(at("file"), "");
    expect(() => destinationOf(at("file"), "out", "folder")).toThrow(/a folder for out .*There is a file/);
  });
});

describe("JsonlWriter", () => {
  const builtin = createRequire(import.meta.url)("node:fs") as typeof fs;
  const { writeSync } = builtin;
  afterEach(() => {
    builtin.writeSync = writeSync;
    syncBuiltinESMExports();
  });

  it("names the file when the disk is full, and goes on after what was whole", () => {
    const file = at("trials.jsonl");
    const writer = new JsonlWriter(file);
    writer.append({ id: 1 });
    builtin.writeSync = ((handle: number, bytes: Uint8Array, offset = 0) => {
      const room = 5 - (offset ?? 0);
      if (room > 0) return writeSync(handle, bytes, offset, room);
      throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC", syscall: "write" });
    }) as typeof fs.writeSync;
    syncBuiltinESMExports();
    expect(() => writer.append({ id: 2 })).toThrowError(
      expect.objectContaining({ code: "disk-full", message: expect.stringContaining(file) }),
    );
    builtin.writeSync = writeSync;
    syncBuiltinESMExports();
    writer.close();
    expect(readJsonl(file)).toEqual({ records: [{ id: 1 }], torn: '{"id"' });
    const again = new JsonlWriter(file);
    again.append({ id: 2 });
    again.close();
    expect(readJsonl(file)).toEqual({ records: [{ id: 1 }, { id: 2 }], torn: null });
  });

  it("takes no device or pipe, because records are read back", () => {
    for (const file of ["/dev/zero", pipe("pipe")])
      expect(() => new JsonlWriter(file)).toThrowError(expect.objectContaining({ code: "no-regular-file" }));
  });
});

describe("reading", () => {
  it.each([
    ["safetensors", (file: string) => readSafetensorsHeader(file)],
    ["text", (file: string) => readText(file)],
    ["YAML", (file: string) => readYaml(file, undefined as never)],
    ["JSONL", (file: string) => readJsonl(file)],
    ["bytes to hash", (file: string) => sha256File(file)],
  ])("refuses a named pipe as %s instead of waiting for it", async (_name, read) => {
    const message = /Expected a regular file at .*pipe.* but it is no regular file/;
    await expect((async () => read(pipe("model.safetensors")))()).rejects.toMatchObject({
      code: "no-regular-file",
      message: expect.stringMatching(message.source.replace("pipe.*", "")),
    });
    await expect((async () => read(folder))()).rejects.toThrow(/found a folder/);
    await expect((async () => read(at("absent")))()).rejects.toMatchObject({ code: "file-missing" });
  });
});
