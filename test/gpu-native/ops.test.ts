/**
 * Every op of the CPU engine on every instruction set of this machine, against the plain twin and f64, by the C++ driver
 * steerlab_ops_test (gpu-native/test-ops/). The driver prints one line per check; this file builds it, runs it and asserts.
 */
import { spawnSync } from "node:child_process";
import { beforeAll, describe, expect, it } from "vitest";
import { configured, program } from "./targets";

let driver = "";
const SETS = ["amx", "avx512bf16", "avx512", "avx2", "neon"];

interface Check {
  ok: boolean;
  name: string;
  measured: string;
  limit: string;
}

function drive(...args: string[]): { status: number | null; text: string } {
  const result = spawnSync(driver, args, { encoding: "utf8", maxBuffer: 1 << 26 });
  return { status: result.status, text: result.stdout + result.stderr };
}

function checksOf(text: string): Check[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("ok\t") || line.startsWith("FAIL\t"))
    .map((line) => {
      const [state, name = "", measured = "", limit = ""] = line.split("\t");
      return { ok: state === "ok", name, measured, limit };
    });
}

/** How often each op ran, "op" for any path and "op.<isa>" for the vector path. */
function countersOf(text: string): Map<string, number> {
  const line = text.split("\n").find((each) => each.startsWith("counters\t")) ?? "";
  return new Map(
    line
      .slice("counters\t".length)
      .trim()
      .split(" ")
      .map((each): [string, number] => [each.split("=")[0] ?? "", Number(each.split("=")[1])]),
  );
}

describe.skipIf(!configured)("ops of the cpu engine (needs the CMake folder of `npm run build`)", () => {
  let present: string[] = [];
  beforeAll(async () => {
    driver = await program("ops_test");
    present = drive("list").text.trim().split("\n");
  }, 600_000);

  it("plain is always there, last", () => {
    expect(present.at(-1)).toBe("plain");
  });

  it("f64 plain loops: derivatives and laws", () => {
    const { status, text } = drive("f64", "plain");
    expect(checksOf(text).filter((check) => !check.ok)).toEqual([]);
    expect(checksOf(text).filter((check) => check.name.startsWith("derivative of")).length).toBeGreaterThanOrEqual(12);
    expect(status).toBe(0);
  }, 120_000);

  for (const isa of SETS)
    for (const dtype of ["f32", "bf16"])
      it(`${isa} ${dtype}`, (context) => {
        if (!present.includes(isa)) return context.skip(`this processor has no ${isa}`);
        const { status, text } = drive(dtype, isa);
        const checks = checksOf(text);
        expect(checks.filter((check) => !check.ok)).toEqual([]);
        expect(checks.length).toBeGreaterThan(600);
        expect(status).toBe(0);
        const counters = countersOf(text);
        // gather_rows is a memcpy and sample a sort: both stay with the plain loops
        for (const op of [
          "linear",
          "linear_backward",
          "logits",
          "logits_backward",
          "attention",
          "attention_backward",
          "residual_norm",
          "norm_backward",
          "swiglu",
          "swiglu_backward",
          "rope_store",
          "rope_backward",
          "embed",
          "add",
          "label_loss",
          "match_loss",
          "optimizer_step",
          "score",
        ])
          expect(counters.get(`${op}.${isa}`), `${op} took the vector path`).toBe(counters.get(op));
      }, 120_000);

  it("an unknown instruction set is refused by name", () => {
    const { status, text } = drive("f32", "mmx");
    expect(status).toBe(2);
    expect(text).toContain("Expected an instruction set of this processor for isa but received mmx. It has ");
  });
});
