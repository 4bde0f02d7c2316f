// Against a local server that speaks the hub's API: cache layout, resume, checksums, redirects, tokens that stay home.
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { scrubSecrets } from "../../../kernel-lib/src/base";
import { hubEnvironment, resolveAdapter, resolveModel } from "../../../kernel-lib/src/checkpoint";

const COMMIT = "a".repeat(40);
const TOKEN = "hf_thisIsASecretTokenForTests";
const root = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-hub-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

type Seen = {
  host: "hub" | "storage";
  method: string;
  url: string;
  authorization: string | undefined;
  range: string | undefined;
};
interface HubState {
  files: Record<string, Buffer>;
  /** bytes after which storage cuts the connection, once per entry */
  cuts: number[];
  /** answers to give instead, one per request to the hub */
  statuses: number[];
  private: boolean;
  plainListing: boolean;
  corrupt: boolean;
  ignoreRange: boolean;
}
let state: HubState;
let seen: Seen[] = [];
let hubAddress = "";
let storageAddress = "";
const servers: http.Server[] = [];

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const gitSha1 = (bytes: Buffer): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
const isLarge = (name: string): boolean => name.endsWith(".safetensors");

function listing(): string {
  const siblings = Object.entries(state.files).map(([rfilename, bytes]) => {
    if (state.plainListing) return { rfilename };
    const small = { rfilename, size: bytes.length, blobId: gitSha1(bytes) };
    return isLarge(rfilename) ? { ...small, lfs: { sha256: sha256(bytes), size: bytes.length } } : small;
  });
  return JSON.stringify({
    sha: COMMIT,
    siblings: [...siblings, { rfilename: "../../evil", size: 1, blobId: "b".repeat(40) }],
  });
}

function sendBytes(bytes: Buffer, request: http.IncomingMessage, response: http.ServerResponse, cut?: number): void {
  const match = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  const start = match !== null && !state.ignoreRange ? Number(match[1]) : 0;
  const body = bytes.subarray(start);
  const headers: http.OutgoingHttpHeaders = { "content-length": body.length };
  if (start > 0) headers["content-range"] = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
  response.writeHead(start > 0 ? 206 : 200, headers);
  if (cut === undefined) response.end(body);
  else response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
}

function serve(host: "hub" | "storage", request: http.IncomingMessage, response: http.ServerResponse): unknown {
  const url = request.url ?? "";
  seen.push({
    host,
    method: request.method ?? "",
    url,
    authorization: request.headers.authorization,
    range: request.headers.range,
  });
  const fail = (status: number): unknown => response.writeHead(status).end("no");
  if (host === "storage") {
    const bytes = state.files[decodeURIComponent(url.slice(1).split("?")[0])];
    return sendBytes(state.corrupt ? Buffer.alloc(bytes.length, 1) : bytes, request, response, state.cuts.shift());
  }
  const status = state.statuses.shift();
  if (status !== undefined) return fail(status);
  if (state.private && request.headers.authorization !== `Bearer ${TOKEN}`) return fail(401);
  if (url.startsWith("/api/models/org/old/"))
    return response.writeHead(307, { location: url.replace("/old/", "/tiny/") }).end();
  if (/^\/api\/models\/org\/tiny\/revision\/(main|v1%2Fx|a{40})\?blobs=true$/.test(url)) return response.end(listing());
  const file = /^\/org\/(?:tiny|old)\/resolve\/a{40}\/(.+)$/.exec(url);
  const bytes = file === null ? undefined : state.files[decodeURIComponent(file[1])];
  if (file === null || bytes === undefined) return fail(404);
  if (!isLarge(file[1])) {
    if (request.method === "HEAD")
      return response.writeHead(200, { etag: `W/"${gitSha1(bytes)}"`, "content-length": bytes.length }).end();
    return sendBytes(bytes, request, response);
  }
  response.writeHead(302, {
    location: `${storageAddress}/${file[1]}?signature=abc`,
    "x-linked-etag": `"${sha256(bytes)}"`,
    "x-linked-size": bytes.length,
  });
  response.end();
}

beforeAll(async () => {
  const start = (host: "hub" | "storage"): Promise<string> =>
    new Promise((done) => {
      const server = http.createServer((request, response) => serve(host, request, response));
      servers.push(server);
      server.listen(0, "127.0.0.1", () => done(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
    });
  hubAddress = await start("hub");
  storageAddress = await start("storage");
});
afterAll(() => {
  for (const server of servers) server.close();
});

/** An address where nothing listens. */
function closedPort(): Promise<string> {
  return new Promise((done) => {
    const server = http.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => done(`http://127.0.0.1:${port}`));
    });
  });
}

let cache = "";
let count = 0;
const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251));
beforeEach(() => {
  count += 1;
  cache = path.join(root, `cache-${count}`);
  seen = [];
  state = {
    files: {
      "config.json": Buffer.from("{}"),
      "tokenizer.json": Buffer.from('{"t": 1}'),
      "model.safetensors": weights,
      "README.md": Buffer.from("no"),
    },
    cuts: [],
    statuses: [],
    private: false,
    plainListing: false,
    corrupt: false,
    ignoreRange: false,
  };
});
const env = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  HOME: root,
  HF_HUB_CACHE: cache,
  HF_ENDPOINT: hubAddress,
  ...more,
});
const model = (name: string, more: NodeJS.ProcessEnv = {}, options: object = {}): Promise<string> =>
  resolveModel(name, { env: env(more), retryDelayMs: 1, ...options });
const rejectsWith = (promise: Promise<unknown>, code: string, text: RegExp): Promise<void> =>
  expect(promise).rejects.toThrowError(expect.objectContaining({ code, message: expect.stringMatching(text) }));
const downloads = (): Seen[] => seen.filter((request) => request.host === "storage");

describe("resolveModel", () => {
  it("fetches what is read into the hub's cache layout, and then needs no network", async () => {
    const progress: [number, number, string][] = [];
    const folder = await model(
      "org/tiny",
      {},
      { onProgress: (...report: [number, number, string]) => progress.push(report) },
    );
    const store = path.join(cache, "models--org--tiny");
    expect(folder).toBe(path.join(store, "snapshots", COMMIT));
    expect(fs.readdirSync(folder).sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
    expect(fs.readFileSync(path.join(store, "refs", "main"), "utf8")).toBe(COMMIT);
    expect(fs.readlinkSync(path.join(folder, "model.safetensors"))).toBe(`../../blobs/${sha256(weights)}`);
    expect(fs.readFileSync(path.join(folder, "model.safetensors")).equals(weights)).toBe(true);
    expect(fs.readdirSync(path.join(store, "blobs")).sort()).toEqual(
      [sha256(weights), gitSha1(state.files["config.json"]), gitSha1(state.files["tokenizer.json"])].sort(),
    );
    expect(progress[progress.length - 1]).toEqual([weights.length, weights.length, "model.safetensors"]);
    seen = [];
    expect(await model("org/tiny")).toBe(folder);
    expect(await model(`org/tiny@${COMMIT}`)).toBe(folder);
    expect(await model("org/tiny", { HF_HUB_OFFLINE: "1" })).toBe(folder);
    expect(seen).toEqual([]);
    expect(await model("org/tiny", {}, { refresh: true })).toBe(folder);
    expect(downloads()).toEqual([]); // asked, but nothing had changed
    expect(seen.length).toBe(1);
  });

  it("takes a folder as it is, a revision with a slash, a renamed repository, and a mirror with a bare listing", async () => {
    fs.mkdirSync(path.join(root, "local"), { recursive: true });
    expect(await model(path.join(root, "local"))).toBe(path.join(root, "local"));
    expect(seen).toEqual([]);
    await model("org/tiny@v1/x");
    expect(fs.existsSync(path.join(cache, "models--org--tiny", "refs", "v1", "x"))).toBe(true);
    expect(await model("org/old")).toContain("models--org--old");
    state.plainListing = true;
    fs.rmSync(cache, { recursive: true });
    const folder = await model("org/tiny");
    expect(fs.readFileSync(path.join(folder, "model.safetensors")).equals(weights)).toBe(true);
  });

  it("fetches the shards that an index names, and completes a half-fetched snapshot", async () => {
    delete state.files["model.safetensors"];
    state.files["model.safetensors.index.json"] = Buffer.from(
      JSON.stringify({ weight_map: { a: "m-1.safetensors", b: "m-2.safetensors", c: "m-1.safetensors" } }),
    );
    state.files["m-1.safetensors"] = Buffer.from("one");
    state.files["m-2.safetensors"] = Buffer.from("two!");
    const folder = await model("org/tiny");
    expect(fs.readdirSync(folder)).toContain("m-2.safetensors");
    fs.rmSync(path.join(folder, "m-2.safetensors"));
    seen = [];
    expect(await model("org/tiny")).toBe(folder);
    expect(fs.readFileSync(path.join(folder, "m-2.safetensors"), "utf8")).toBe("two!");
    expect(downloads()).toEqual([]); // the blob was still there
    delete state.files["m-2.safetensors"];
    fs.rmSync(cache, { recursive: true });
    await rejectsWith(model("org/tiny"), "hub-files", /m-2\.safetensors/);
  });

  it("resumes where the connection broke, by range", async () => {
    state.cuts = [100_000, 50_000];
    await model("org/tiny");
    const ranges = downloads().map((request) => request.range);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.length).toBe(3);
    expect(Number(/bytes=(\d+)-/.exec(ranges[2] ?? "")?.[1])).toBeGreaterThan(0);
    expect(fs.readFileSync(path.join(cache, "models--org--tiny", "blobs", sha256(weights))).equals(weights)).toBe(true);
  });

  it("resumes in a later process, starts over where ranges are ignored, and survives a stale lock and an over-long part", async () => {
    const blobs = path.join(cache, "models--org--tiny", "blobs");
    fs.mkdirSync(blobs, { recursive: true });
    const blob = path.join(blobs, sha256(weights));
    fs.writeFileSync(`${blob}.incomplete`, weights.subarray(0, 200_000));
    fs.writeFileSync(`${blob}.lock`, "4194999"); // beyond the largest process id of a default Linux
    await model("org/tiny");
    expect(downloads().map((request) => request.range)).toEqual(["bytes=200000-"]);
    expect(fs.existsSync(`${blob}.lock`)).toBe(false);
    for (const start of [weights.subarray(0, 10), Buffer.concat([weights, weights])]) {
      fs.rmSync(path.join(cache, "models--org--tiny"), { recursive: true });
      fs.mkdirSync(blobs, { recursive: true });
      fs.writeFileSync(`${blob}.incomplete`, start);
      state.ignoreRange = true;
      await model("org/tiny");
      expect(fs.readFileSync(blob).equals(weights)).toBe(true);
    }
  });

  it("throws away bytes with a wrong checksum, wherever they came from", async () => {
    const blobs = path.join(cache, "models--org--tiny", "blobs");
    fs.mkdirSync(blobs, { recursive: true });
    fs.writeFileSync(path.join(blobs, `${sha256(weights)}.incomplete`), Buffer.alloc(1000, 9)); // a part of something else
    await model("org/tiny");
    expect(downloads().length).toBe(2); // resumed, found wrong, fetched again
    fs.rmSync(cache, { recursive: true });
    state.corrupt = true;
    await rejectsWith(model("org/tiny"), "hub-checksum", /checksum/);
    expect(fs.readdirSync(blobs).filter((name) => name.startsWith(sha256(weights)))).toEqual([]);
    await rejectsWith(model("org/tiny", { HF_HUB_OFFLINE: "1" }), "hub-offline", /not complete/);
  });

  it("tries busy servers again, gives up on dead ones, and stops when told", async () => {
    state.statuses = [503];
    await rejectsWith(model("org/tiny"), "hub-network", /503/); // the listing is asked once
    state.files["generation_config.json"] = Buffer.from("{}");
    const slow = new AbortController();
    state.cuts = [1000, 1000, 1000, 1000, 1000, 1000];
    await rejectsWith(
      model("org/tiny", {}, { signal: slow.signal, onProgress: (done: number) => done > 100 && slow.abort() }),
      "aborted",
      /request/,
    );
    state.cuts = [];
    await rejectsWith(
      model("org/tiny", { HF_ENDPOINT: await closedPort() }),
      "hub-network",
      /connection failed \(ECONNREFUSED\)/,
    );
  });

  it("sends the token to the hub only, and shows it nowhere", async () => {
    state.private = true;
    await rejectsWith(model("org/tiny"), "hub-access", /Set HF_TOKEN/);
    await rejectsWith(model("org/tiny", { HF_TOKEN: "hf_wrongTokenWrongToken" }), "hub-access", /^(?!.*wrongToken)/);
    await model("org/tiny", { HF_TOKEN: TOKEN });
    expect(
      seen
        .filter((request) => request.host === "hub")
        .slice(2)
        .every((request) => request.authorization === `Bearer ${TOKEN}`),
    ).toBe(true);
    expect(downloads().map((request) => request.authorization)).toEqual([undefined]);
  });

  it("names what is wrong with names, repositories and answers", async () => {
    for (const name of [
      "tiny",
      "org/tiny/more",
      "../x",
      "org/..",
      "org/tiny@../../x",
      "/no/such/folder",
      "org--x/y",
      "",
      "org/tiny@",
    ]) {
      await rejectsWith(model(name), "hub-name", /existing folder, a .gguf file or a hub name/);
    }
    await rejectsWith(model("org/absent"), "hub-not-found", /revision main of org\/absent/);
    await rejectsWith(resolveAdapter("org/tiny", { env: env() }), "hub-files", /adapter_config\.json in org\/tiny/);
    delete state.files["model.safetensors"];
    await rejectsWith(model("org/tiny"), "hub-files", /model\.safetensors/);
    expect(seen.some((request) => request.url.includes("evil"))).toBe(false);
  });

  it("asks for the texts that a cached snapshot lacks, once, at its own commit", async () => {
    const folder = await model("org/tiny");
    const store = path.join(cache, "models--org--tiny");
    fs.rmSync(path.join(folder, "tokenizer.json"));
    fs.rmSync(path.join(store, "blobs", gitSha1(state.files["tokenizer.json"])));
    expect(await model("org/tiny", { HF_HUB_OFFLINE: "1" })).toBe(folder); // weights alone serve token ids
    seen = [];
    expect(await model("org/tiny")).toBe(folder);
    expect(fs.readFileSync(path.join(folder, "tokenizer.json"), "utf8")).toBe('{"t": 1}');
    expect(seen.every(({ url }) => url.includes(COMMIT))).toBe(true);
    expect(downloads()).toEqual([]); // not the weights again
    seen = [];
    await model("org/tiny");
    expect(seen).toEqual([]); // what the commit does not have is remembered
  });

  it("uses cached weights without their texts where the hub cannot be reached", async () => {
    const folder = await model("org/tiny");
    fs.rmSync(path.join(folder, "tokenizer.json"));
    expect(await model("org/tiny", { HF_ENDPOINT: await closedPort() })).toBe(folder);
  });

  it("names the cached commits where a revision is not among them", async () => {
    const folder = await model("org/tiny");
    fs.rmSync(path.join(cache, "models--org--tiny", "refs"), { recursive: true });
    await rejectsWith(model("org/tiny", { HF_HUB_OFFLINE: "1" }), "hub-offline", new RegExp(`org/tiny@${COMMIT}`));
    expect(await model(`org/tiny@${COMMIT}`, { HF_HUB_OFFLINE: "1" })).toBe(folder);
  });

  it("says where a cache cannot be written, and which variable moves it", async () => {
    const file = path.join(root, "a-file");
    fs.writeFileSync(file, "");
    await rejectsWith(model("org/tiny", { HF_HUB_CACHE: file }), "cache-read-only", /a-file.*ENOTDIR.*HF_HUB_CACHE/);
    const unwritable = "/sys/steerlab"; // for everyone, root too
    if (fs.existsSync("/sys"))
      await rejectsWith(model("org/tiny", { HF_HUB_CACHE: unwritable }), "out-folder", /HF_HUB_CACHE.*sys\/steerlab/);
  });

  it.skipIf(!fs.existsSync("/dev/full"))("says when the disk is full, without trying again", async () => {
    const blobs = path.join(cache, "models--org--tiny", "blobs");
    fs.mkdirSync(blobs, { recursive: true });
    fs.symlinkSync("/dev/full", path.join(blobs, `${sha256(weights)}.incomplete`));
    await rejectsWith(model("org/tiny"), "disk-space", /disk is full.*HF_HUB_CACHE/);
    expect(downloads().length).toBe(1);
  });

  it("fetches an adapter from a folder of its repository, by name or subfolder", async () => {
    state.files = {
      "README.md": Buffer.from("no"),
      "step_0900/adapter_config.json": Buffer.from("{}"),
      "step_0900/adapter_model.safetensors": Buffer.from("w9"),
      "runs/last/adapter_config.json": Buffer.from('{"a": 1}'),
      "runs/last/adapter_model.safetensors": Buffer.from("w1"),
    };
    const folder = await resolveAdapter("org/tiny/step_0900", { env: env() });
    const snapshot = path.join(cache, "models--org--tiny", "snapshots", COMMIT);
    expect(folder).toBe(path.join(snapshot, "step_0900"));
    expect(fs.readFileSync(path.join(folder, "adapter_model.safetensors"), "utf8")).toBe("w9");
    expect(fs.existsSync(path.join(snapshot, "runs"))).toBe(false); // only what was asked for
    const nested = { env: env(), subfolder: "runs/last" };
    expect(await resolveAdapter("org/tiny@main", nested)).toBe(path.join(snapshot, "runs", "last"));
    seen = [];
    expect(await resolveAdapter("org/tiny/runs/last@main", { env: env({ HF_HUB_OFFLINE: "1" }) })).toBe(
      path.join(snapshot, "runs", "last"),
    );
    expect(await resolveAdapter(snapshot, { subfolder: "step_0900" })).toBe(folder);
    expect(seen).toEqual([]);
    const wrong = (name: string, subfolder?: string): Promise<string> =>
      resolveAdapter(name, { env: env(), subfolder });
    await rejectsWith(
      wrong("org/tiny"),
      "hub-files",
      /Name one of its folders: org\/tiny\/step_0900, org\/tiny\/runs\/last/,
    );
    await rejectsWith(wrong("org/tiny/step_1"), "hub-files", /step_1\/adapter_config\.json/);
    for (const name of ["org/tiny/../x", "org/tiny/.hidden", "org/tiny/a b"])
      await rejectsWith(wrong(name), "hub-name", /org\/name\[\/folder\]/);
    await rejectsWith(wrong("kernel-lib/src/nothing"), "hub-name", /no such folder here, though there is kernel-lib/);
    for (const subfolder of ["../x", "a//../b", ".git", "a b"])
      await rejectsWith(wrong("org/tiny", subfolder), "hub-name", /./);
  });

  it("fetches adapters with their manifest", async () => {
    state.files = {
      "adapter_config.json": Buffer.from("{}"),
      "steerlab.json": Buffer.from("{}"),
      "adapter_model.safetensors": Buffer.from("w"),
    };
    const folder = await resolveAdapter("org/tiny", { env: env() });
    expect(fs.readdirSync(folder).sort()).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
      "steerlab.json",
    ]);
  });
});

describe("hubEnvironment", () => {
  it("reads the same variables as the Python library, in its order", () => {
    expect(hubEnvironment({ HOME: "/h" })).toEqual({
      cache: "/h/.cache/huggingface/hub",
      endpoint: "https://huggingface.co",
      token: null,
      offline: false,
    });
    expect(hubEnvironment({ HOME: "/h", XDG_CACHE_HOME: "/x" }).cache).toBe("/x/huggingface/hub");
    expect(hubEnvironment({ HOME: "/h", HF_HOME: "~/hf", HF_HUB_OFFLINE: "ON" })).toMatchObject({
      cache: "/h/hf/hub",
      offline: true,
    });
    expect(
      hubEnvironment({ HOME: "/h", HF_HOME: "/hf", HF_HUB_CACHE: "/c", HF_ENDPOINT: "https://mirror.example/" }),
    ).toMatchObject({ cache: "/c", endpoint: "https://mirror.example" });
    fs.writeFileSync(path.join(root, "token"), " hf_fromfile \n");
    expect(hubEnvironment({ HOME: "/h", HF_TOKEN_PATH: path.join(root, "token") }).token).toBe("hf_fromfile");
    expect(hubEnvironment({ HOME: "/h", HF_HOME: root, HF_TOKEN: "hf_env" }).token).toBe("hf_env");
    expect(() => hubEnvironment({ HF_ENDPOINT: "ftp://x" })).toThrowError(/HF_ENDPOINT/);
  });
});

describe("scrubSecrets", () => {
  it("removes known values, token-like words and logins in addresses", () => {
    const text = "Bearer s3cr3t-value, hf_abcdefghijklmnopqrst, https://me:pw@mirror.example/x, keep hf_short";
    expect(scrubSecrets(text, ["s3cr3t-value"], {})).toBe(
      "Bearer ***, ***, https://***@mirror.example/x, keep hf_short",
    );
    expect(scrubSecrets("x tokenvalue y", [], { HF_TOKEN: "tokenvalue" })).toBe("x *** y");
  });
});
