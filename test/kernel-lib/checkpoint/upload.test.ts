// Against a local server that takes uploads as the hub and its storage do: nothing leaves this machine.
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { uploadFolder } from "../../../kernel-lib/src/checkpoint";

const TOKEN = "hf_thisIsASecretTokenForTests";
const root = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-upload-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

interface Seen {
  host: "hub" | "storage";
  line: string;
  authorization: string | undefined;
  body: Buffer;
}
let seen: Seen[];
let stored: boolean;
let answers: Record<string, { status: number; text?: string; location?: string }>;
let hub = "";
let storage = "";
const servers: http.Server[] = [];

function answerOf(line: string, body: Buffer): object | null {
  if (line === "POST /api/repos/create") return { url: `${hub}/me/detector` };
  if (line === "POST /api/models/me/detector/preupload/main") {
    const { files } = JSON.parse(body.toString()) as { files: { path: string; size: number; sample: string }[] };
    const modeOf = (name: string) => (name.endsWith(".safetensors") ? "lfs" : "regular");
    return { files: files.map((file) => ({ path: file.path, uploadMode: modeOf(file.path) })) };
  }
  if (line === "POST /me/detector.git/info/lfs/objects/batch") {
    const [{ oid, size }] = (JSON.parse(body.toString()) as { objects: { oid: string; size: number }[] }).objects;
    const actions = {
      upload: { href: `${storage}/put/${oid}?signature=secret-signature`, header: { "x-own": "1" } },
      verify: { href: `${hub}/api/lfs/verify?of=${oid}` },
    };
    return { objects: [{ oid, size, ...(stored ? {} : { actions }) }] };
  }
  if (line.startsWith("POST /api/lfs/verify")) return {};
  if (line === "POST /api/models/me/detector/commit/main") return { commitUrl: `${hub}/me/detector/commit/abc` };
  return null;
}

function serve(host: "hub" | "storage"): Promise<string> {
  const server = http.createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const line = `${request.method} ${request.url}`;
      const body = Buffer.concat(parts);
      seen.push({ host, line, authorization: request.headers.authorization, body });
      const told = Object.entries(answers).find(([start]) => line.startsWith(start))?.[1];
      if (told !== undefined) {
        response.writeHead(told.status, told.location === undefined ? {} : { location: told.location });
        return response.end(told.text ?? "");
      }
      if (host === "storage") return response.writeHead(200).end();
      const answer = answerOf(line, body);
      return response.writeHead(answer === null ? 404 : 200).end(JSON.stringify(answer));
    });
  });
  servers.push(server);
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)),
  );
}

beforeAll(async () => {
  [hub, storage] = await Promise.all([serve("hub"), serve("storage")]);
});
afterAll(() => {
  for (const server of servers) server.close();
});

const weights = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251));
const oid = createHash("sha256").update(weights).digest("hex");
const files = ["README.md", "adapter_model.safetensors"];
let folder: string;
beforeEach(() => {
  [seen, stored, answers] = [[], false, {}];
  folder = fs.mkdtempSync(path.join(root, "folder-"));
  fs.writeFileSync(path.join(folder, "README.md"), "# Ünïcode card\n");
  fs.writeFileSync(path.join(folder, "adapter_model.safetensors"), weights);
});
const env = (more: Record<string, string> = {}) => ({ HOME: root, HF_ENDPOINT: hub, HF_TOKEN: TOKEN, ...more });
const upload = (more: Record<string, string> = {}) => uploadFolder("me/detector", folder, files, { env: env(more) });
const linesOf = (host: Seen["host"]) => seen.filter((one) => one.host === host).map(({ line }) => line.split("?")[0]);

describe("upload to a hub", () => {
  it("makes the repository, stores what is large, commits everything at once", async () => {
    expect(await upload()).toBe(`${hub}/me/detector/commit/abc`);
    expect(linesOf("hub")).toEqual([
      "POST /api/repos/create",
      "POST /api/models/me/detector/preupload/main",
      "POST /me/detector.git/info/lfs/objects/batch",
      "POST /api/lfs/verify",
      "POST /api/models/me/detector/commit/main",
    ]);
    const put = seen.find(({ host }) => host === "storage") as Seen;
    expect(put.body.equals(weights)).toBe(true);
    const commit = (seen.at(-1) as Seen).body
      .toString()
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(commit.map(({ key }) => key)).toEqual(["header", "file", "lfsFile"]);
    expect(Buffer.from(commit[1].value.content, "base64").toString()).toBe("# Ünïcode card\n");
    expect(commit[2].value).toEqual({ path: files[1], algo: "sha256", oid, size: weights.length });
    expect(JSON.parse(seen[0].body.toString())).toEqual({
      name: "detector",
      organization: "me",
      type: "model",
      private: false,
    });
  });

  it("gives the token to the hub alone", async () => {
    await upload();
    for (const { host, authorization } of seen)
      expect(authorization).toBe(host === "hub" ? `Bearer ${TOKEN}` : undefined);
  });

  it("goes on where the repository is there, and sends nothing that storage has", async () => {
    answers["POST /api/repos/create"] = { status: 409, text: '{"error":"You already created this repo"}' };
    stored = true;
    await upload();
    expect(linesOf("storage")).toEqual([]);
    expect(linesOf("hub").at(-1)).toBe("POST /api/models/me/detector/commit/main");
  });

  it("sends nothing without a token, offline, or for a name that is none", async () => {
    await expect(upload({ HF_TOKEN: "" })).rejects.toMatchObject({ code: "hub-token" });
    await expect(upload({ HF_HUB_OFFLINE: "1" })).rejects.toMatchObject({ code: "hub-offline" });
    await expect(uploadFolder("detector", folder, files, { env: env() })).rejects.toMatchObject({ code: "hub-name" });
    expect(seen).toEqual([]);
  });

  it("says what the hub refuses and why, never the token nor a signed address", async () => {
    answers["POST /api/models/me/detector/commit"] = { status: 400, text: `{"error":"bad card","of":"${TOKEN}"}` };
    const refused = await upload().catch((error: Error) => error);
    expect(refused).toMatchObject({ code: "hub-response" });
    expect((refused as Error).message).toContain("bad card");
    expect((refused as Error).message).not.toContain(TOKEN);
    answers = { "POST /api/models/me/detector/preupload": { status: 403 } };
    await expect(upload()).rejects.toThrow(/token that may write/);
    answers = { "PUT /put": { status: 403 } };
    const unstored = await upload().catch((error: Error) => error);
    expect((unstored as Error).message).toMatch(/storage to take adapter_model.safetensors .* answered 403/);
    expect((unstored as Error).message).not.toContain("signature");
  });

  it("follows the hub's own move of a repository, and no redirect of the commit elsewhere", async () => {
    answers["POST /api/models/me/detector/commit"] = { status: 307, location: `${storage}/elsewhere` };
    await expect(upload()).rejects.toMatchObject({ code: "hub-response" });
    expect(seen.filter(({ host, line }) => host === "storage" && line.includes("elsewhere"))).toEqual([]);
    answers = { "POST /api/models/me/detector/commit": { status: 307, location: "/api/lfs/verify?moved" } };
    expect(await upload()).toBe(`${hub}/me/detector`);
  });
});
