/** `steerlab publish`: what lies in the folder, and that nothing is sent where nothing should be. */
import * as fs from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { publish } from "../../../kernel-lib/src/command";
import { evaluateSideEffects, packRun } from "../../../kernel-lib/src/evaluate";
import { openRunFolder } from "../../../kernel-lib/src/runs";
import { loadProtocol, twin } from "../../../kernel-lib/src/study";
import { trainDetector } from "../../../kernel-lib/src/train";
import { fakeAdapter, FakeEngine, fakeModel } from "../../helpers/fake-engine";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "publish-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());
let training: string;
let evaluation: string;
let requests: string[] = [];
let server: http.Server;

beforeAll(async () => {
  const small = twin(loadProtocol("strict"), {
    "training.examples": 200,
    "training.lora": { r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj"] },
  });
  const engine = new FakeEngine();
  const model = fakeModel(engine);
  training = (await trainDetector(model, small, { seed: 1, root })).folder;
  evaluation = (await evaluateSideEffects(model, small, { adapter: fakeAdapter(engine, [0, 3]), root })).folder;
  // The adapter that was asked is the one that the run trained.
  const run = openRunFolder(evaluation);
  run.writeMeta({ ...run.readMeta(), adapterHash: openRunFolder(training).readMeta().adapterHash });
  server = http.createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    request.resume().on("end", () => {
      const files = ["README.md", "adapter_config.json", "adapter_model.safetensors", "protocol.yaml", "steerlab.json"];
      response.end(JSON.stringify({ files: files.map((name) => ({ path: name, uploadMode: "regular" })) }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
}, 120_000);
afterAll(() => server.close());

let warned = "";
async function printed(args: string[]): Promise<string> {
  const out = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  const err = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    await publish(args);
    warned = err.mock.calls.map(([text]) => String(text)).join("");
    return out.mock.calls.map(([text]) => String(text)).join("");
  } finally {
    out.mockRestore();
    err.mockRestore();
  }
}

describe("steerlab publish", () => {
  const names = ["--to", "me/detector", "--base-model", "org/Base-0.5B"];

  it("--dry-run builds a folder with PEFT files, manifest, protocol and a card of the evaluations beside the run", async () => {
    requests = [];
    const folder = (await printed([training, ...names, "--dry-run"])).trim();
    expect(fs.readdirSync(folder).sort()).toEqual([
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
      "protocol.yaml",
      "steerlab.json",
    ]);
    const read = (name: string) => fs.readFileSync(path.join(folder, name));
    expect(
      read("adapter_model.safetensors").equals(
        fs.readFileSync(path.join(training, "adapter", "adapter_model.safetensors")),
      ),
    ).toBe(true);
    expect(JSON.parse(read("adapter_config.json").toString()).base_model_name_or_path).toBe("org/Base-0.5B");
    const card = read("README.md").toString();
    const front = card.slice(0, card.indexOf("---", 4));
    expect(front).toContain("base_model: org/Base-0.5B");
    expect(card).toContain('base, adapter = "org/Base-0.5B", "me/detector"');
    expect(card).toContain('await model.attach("me/detector")');
    expect(card).toContain(`| hash | \`${openRunFolder(training).readMeta().modelHash}\` (config and weights) |`);
    expect(card).toContain("| side effect: category | change of P(Yes) |");
    expect(card).not.toContain(root);
    expect(requests).toEqual([]);
  });

  it("names no base model in the front matter that no hub has, and the quantisation of a GGUF base", async () => {
    const run = openRunFolder(training);
    const meta = run.readMeta();
    try {
      run.writeMeta({ ...meta, model: "small.gguf (Q4_K_M, sha256 0123456789ab)", isLabModel: false });
      const folder = (await printed([training, "--dry-run", "--out", path.join(root, "plain")])).trim();
      const card = fs.readFileSync(path.join(folder, "README.md"), "utf8");
      expect(card.slice(0, card.indexOf("---", 4))).not.toContain("base_model");
      expect(card).toMatch(
        /The base model "small\.gguf[^"]*" is a model of the machine that trained the adapter, .* no hub has it by that name\./,
      );
      expect(card).toContain("| opened as | small.gguf |");
      expect(card).toContain("| quantisation | Q4_K_M |");
    } finally {
      run.writeMeta(meta);
    }
  });

  it("uploads to the hub that HF_ENDPOINT names, and prints where it is", async () => {
    const hub = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    vi.stubEnv("HF_ENDPOINT", hub);
    vi.stubEnv("HF_TOKEN", "hf_test");
    vi.stubEnv("HF_HUB_OFFLINE", "");
    requests = [];
    expect(await printed([training, ...names])).toBe(`${hub}/me/detector\n`);
    expect(requests).toEqual([
      "POST /api/repos/create",
      "POST /api/models/me/detector/preupload/main",
      "POST /api/models/me/detector/commit/main",
    ]);
  });

  it("refuses before anything is built: no repository, no token, a run that trained nothing", async () => {
    vi.stubEnv("HF_TOKEN", "");
    vi.stubEnv("HUGGING_FACE_HUB_TOKEN", "");
    vi.stubEnv("HF_HOME", root);
    await expect(printed([training])).rejects.toMatchObject({ code: "missing-flag" });
    const out = path.join(root, "never");
    await expect(printed([training, ...names, "--out", out])).rejects.toMatchObject({ code: "hub-token" });
    expect(fs.existsSync(out)).toBe(false);
    await expect(printed([evaluation, "--dry-run"])).rejects.toMatchObject({ code: "card-runs" });
    for (const name of ["bad name", "org/-x", "org/x-", "org/x.git", `org/${"x".repeat(100)}`])
      await expect(printed([training, "--dry-run", "--to", name]), name).rejects.toMatchObject({ code: "hub-name" });
  });

  it("says that a packed run lacks its weights", async () => {
    const packed = packRun(training, path.join(root, "packed"));
    await expect(printed([packed, "--dry-run"])).rejects.toThrow(/weights.*packed run has none/);
  });

  it("warns of a base model that no reader can open", async () => {
    await printed([training, "--dry-run", "--out", path.join(root, "local")]);
    expect(warned).toMatch(/only this machine knows.*--base-model ORG\/NAME/);
    await printed([training, ...names, "--dry-run"]);
    expect(warned).not.toContain("only this machine");
  });
});
