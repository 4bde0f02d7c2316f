/** A protocol with one changed line does not pass for the one it was copied from. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import {
  loadProtocol,
  type Protocol,
  protocolChanges,
  protocolLabel,
  saveProtocol,
  twin,
} from "../../../kernel-lib/src/study";

const strict = loadProtocol("strict");

describe("protocolLabel", () => {
  it("is the name of a shipped protocol, by content", () => {
    expect(protocolLabel(strict)).toBe("strict");
    expect(protocolLabel(loadProtocol("card"))).toBe("card");
  });

  it("lists what was changed, three fields at most", () => {
    const changed: Protocol = { ...strict, training: { ...strict.training, examples: 640 } };
    expect(protocolLabel(changed)).toBe("strict, changed: training.examples 640");
    const more = { "training.lora.r": 4, "training.batch": 8, "training.epochs": 2, "steering.magnitudes": [0.1, 0.2] };
    expect(protocolLabel(twin(strict, more))).toBe(
      "strict, changed: steering.magnitudes [0.1, 0.2], training.lora.r 4, training.epochs 2 and 1 more",
    );
    expect(protocolLabel(twin(strict, "flipped"))).toBe("strict, changed: training.control flipped");
  });

  it("names the one field of an entry that was changed, and counts the entries where there are more", () => {
    const one = { "evaluation.tiers.1.vectorCount": 3 };
    expect(protocolLabel(twin(strict, one))).toBe("strict, changed: evaluation.tiers.1.vectorCount 3");
    const two = { ...one, "evaluation.tiers.0.vectorCount": 3 };
    expect(protocolLabel(twin(strict, two))).toBe("strict, changed: evaluation.tiers (2 of 13 entries)");
    const other = { "evaluation.tiers.1.vectorCount": 3, "evaluation.tiers.1.clean": 20 };
    expect(protocolLabel(twin(strict, other))).toBe("strict, changed: evaluation.tiers (1 of 13 entries)");
  });

  it("calls a protocol with a name of its own by it, and says what it is nearest to", () => {
    const mine = { ...strict, name: "mine", evaluation: { ...strict.evaluation, seed: 8 } };
    expect(protocolLabel(mine)).toBe("mine (strict, changed: evaluation.seed 8)");
    const other = { ...strict, name: "other", title: "Another title" };
    expect(protocolLabel(other)).toBe("other (strict, other words about it)");
  });

  it("is that of its file for one that is not shipped", () => {
    const folder = mkdtempSync(join(tmpdir(), "protocol-"));
    const data = resolve(__dirname, "../../../data");
    const shipped = readFileSync(join(data, "protocols", "strict.yaml"), "utf8");
    const text = shipped
      .replaceAll("../prompts/", `${join(data, "prompts")}/`)
      .replace(/examples: \d+/, "examples: 640");
    writeFileSync(join(folder, "My study.yaml"), text);
    writeFileSync(join(folder, "strict.yaml"), text);
    const mine = loadProtocol(join(folder, "My study.yaml"));
    expect(mine.name).toBe("my-study");
    expect(protocolLabel(mine)).toBe("my-study (strict, changed: training.examples 640)");
    expect(protocolLabel(loadProtocol(join(folder, "strict.yaml")))).toBe("strict, changed: training.examples 640");
    saveProtocol(mine, join(folder, "protocol.yaml")); // a run's copy keeps the name
    expect(loadProtocol(join(folder, "protocol.yaml"))).toEqual(mine);
    rmSync(folder, { recursive: true });
  });

  it("counts fields that are gone and long values by their number", () => {
    const { infoPrompt: _, ...conversation } = strict.conversation;
    const without = { ...strict, conversation, contexts: strict.contexts.slice(0, 3) } as unknown as Protocol;
    expect(protocolChanges(without, strict)).toEqual([
      { path: "contexts", value: "(3 entries)" },
      { path: "conversation.infoPrompt", value: "left out" },
    ]);
  });
});
