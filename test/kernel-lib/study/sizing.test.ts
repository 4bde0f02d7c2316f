/** A protocol's numbers follow the size of the model, say so, and can be taken for another size by name. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { qwen2Shape } from "../../../kernel-lib/src/checkpoint";
import {
  listProtocols,
  loadProtocol,
  protocolChanges,
  protocolHash,
  protocolLabel,
  protocolOf,
  renderProtocol,
  saveProtocol,
  shippedProtocols,
  twin,
} from "../../../kernel-lib/src/study";

const folder = mkdtempSync(join(tmpdir(), "sizing-"));
const data = resolve(__dirname, "../../../data");
afterAll(() => rmSync(folder, { recursive: true }));

const labShape = JSON.parse(readFileSync(join(data, "lab-model", "config.json"), "utf8"));

describe("sizings", () => {
  it("come with every shipped protocol, checked, by the same names", () => {
    for (const name of listProtocols()) {
      const sizes = shippedProtocols().filter((protocol) => protocol.name === name);
      expect(sizes.map(({ sizing }) => sizing?.name)).toEqual(["lab", "0.5B", "32B"]);
      expect(new Set(sizes.map(protocolHash)).size).toBe(3);
    }
  });

  it("are picked by the number of parameters", () => {
    const picked = (size: string): unknown => protocolOf("strict", {}, qwen2Shape(size)).sizing?.name;
    expect(["0.5B", "1.5B", "7B", "32B"].map(picked)).toEqual(["0.5B", "0.5B", "32B", "32B"]);
    expect(protocolOf("strict", {}, labShape)).toEqual(loadProtocol("strict"));
  });

  it("change numbers and never the design", () => {
    const numbers =
      /^(steering\.(heldOutM|m)agnitudes|training\.(examples|batch|epochs|warmupSteps|validateEvery|checkpointEvery|retention\.weight|optimizer\.lr)|evaluation\.(tiers|identitySamples))$/;
    const design = [
      "name",
      "about",
      "vectors",
      "contexts",
      "replies",
      "questions",
      "questionChoice",
      "cachesOf",
    ] as const;
    for (const name of listProtocols()) {
      const own = loadProtocol(name);
      for (const size of ["0.5B", "32B"]) {
        const sized = loadProtocol(`${name}@${size}`);
        for (const { path } of protocolChanges(sized, own)) expect(path).toMatch(numbers);
        const designOf = (protocol: typeof own) =>
          protocol.evaluation.tiers.map((tier) => design.map((field) => tier[field]));
        expect(designOf(sized)).toEqual(designOf(own));
      }
    }
  });

  it("are named by label and text, and outlast a twin and a file", () => {
    const sized = loadProtocol("strict@0.5B");
    expect(protocolLabel(sized)).toBe("strict for 0.5B");
    expect(renderProtocol(sized)).toMatch(/\*\*Sized for 0\.5B\*\*: \S/);
    const changed = twin(sized, { "training.lora.r": 4 });
    expect(changed.sizing?.name).toBe("0.5B");
    expect(protocolLabel(changed)).toBe("strict for 0.5B, changed: training.lora.r 4");
    saveProtocol(changed, join(folder, "protocol.yaml"));
    expect(protocolHash(loadProtocol(join(folder, "protocol.yaml")))).toBe(protocolHash(changed));
  });

  it("take changes on top, tiers by name", () => {
    const one = protocolOf("strict@0.5B", { "evaluation.tiers.concepts_102.contextsPerCell": 2 });
    expect(one.evaluation.tiers.find(({ name }) => name === "concepts_102")?.contextsPerCell).toBe(2);
    expect(() => protocolOf("strict", { "evaluation.tiers.nope.clean": 2 })).toThrow(/tiers\.nope\.clean/);
  });

  it("refuse a size that the protocol does not have, sizes in disorder and fields that do not exist", () => {
    expect(() => loadProtocol("strict@7B")).toThrow(/one of lab, 0\.5B, 32B for size of protocol strict.*"7B"/);
    const text = readFileSync(join(data, "protocols", "card.yaml"), "utf8").replaceAll(
      "../prompts/",
      `${data}/prompts/`,
    );
    const file = join(folder, "mine.yaml");
    const [before] = text.split("\nsizings:");
    writeFileSync(file, `${before}\nsizings:\n  - {name: big, about: a, parameters: 10, set: {training.speed: 1}}\n`);
    expect(() => loadProtocol(`${file}@big`)).toThrow(/training\.speed/);
    writeFileSync(
      file,
      `${before}\nsizings:\n  - {name: a, about: a, parameters: 9, set: {}}\n  - {name: b, about: b, parameters: 8, set: {}}\n`,
    );
    expect(() => loadProtocol(file)).toThrow(/sizes from the smallest up/);
  });
});
