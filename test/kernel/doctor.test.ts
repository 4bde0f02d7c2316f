// The doctor sees what is there and names the remedy for what is not; kernel install writes where it was told.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  atLeast,
  checkKernelspec,
  checkLabModel,
  checkNode,
  checkPython,
  diagnose,
  findingLine,
} from "../../kernel-lib/src/command";
import { kernelInstall, userKernelFolder, venvProgram } from "../../kernel-lib/src/notebook";
import { ROOT, temporaryFolder } from "../helpers/notebook";

afterEach(() => {
  vi.unstubAllEnvs();
});

describe("diagnose", () => {
  it("finds the environment of this project in order, and its kernel running", { timeout: 120_000 }, () => {
    const seen: string[] = [];
    const findings = diagnose(({ name }) => seen.push(name));
    const level = Object.fromEntries(findings.map((finding) => [finding.name, finding.level]));
    expect(level).toMatchObject({ node: "good", python: "good", ".venv": "good", kernelspec: "good", kernel: "good" });
    expect(seen).toEqual(findings.map(({ name }) => name));
    for (const finding of findings) {
      expect(finding.fact).not.toBe("");
      if (finding.level === "bad") expect(finding.remedy).not.toBe("");
    }
  });
});

describe("single checks", () => {
  it("compare versions by number", () => {
    expect([
      atLeast("v20.19.0", [20, 19]),
      atLeast("v22.0.0", [20, 19]),
      atLeast("v20.9.9", [20, 19]),
      atLeast("3.9.1", [3, 11]),
    ]).toEqual([true, true, false, false]);
    expect(checkNode("v18.20.0")).toMatchObject({ level: "bad", remedy: expect.stringContaining("20.19") });
  });

  it("say that Python is missing and how to get it", () => {
    expect(checkPython("no-such-python")).toMatchObject({
      level: "bad",
      fact: "no-such-python not found",
      remedy: expect.stringContaining("python3-venv"),
    });
  });

  it("notice a kernelspec whose files are gone, or that is missing", () => {
    const file = join(temporaryFolder(), "kernel.json");
    expect(checkKernelspec(file).fact).toBe("not written");
    writeFileSync(file, JSON.stringify({ argv: [process.execPath, "--require", "/gone/register.cjs"] }));
    expect(checkKernelspec(file)).toMatchObject({ level: "bad", fact: expect.stringContaining("/gone/register.cjs") });
  });

  it("notice a missing lab model", () => {
    expect(checkLabModel(temporaryFolder()).level).toBe("bad");
  });

  it("are one line each", () => {
    expect(findingLine({ name: "disk", level: "note", fact: "1.0 GiB free", remedy: "Free some" })).toBe(
      "note  disk        1.0 GiB free. Mend: Free some",
    );
  });
});

describe("kernelInstall", () => {
  it("writes into a prefix, with files that exist", () => {
    const prefix = temporaryFolder();
    const file = kernelInstall({ prefix });
    expect(file).toBe(join(prefix, "share", "jupyter", "kernels", "steerlab", "kernel.json"));
    const spec = JSON.parse(readFileSync(file, "utf8"));
    expect(spec).toMatchObject({ display_name: "TypeScript (steerlab)", language: "typescript" });
    expect(checkKernelspec(file).level).toBe("good");
    expect(spec.argv).toContain(join(ROOT, "kernel-lib", "jupyter", "register.cjs"));
  });

  it("writes into the user's Jupyter, wherever that is", () => {
    const home = temporaryFolder();
    vi.stubEnv("JUPYTER_DATA_DIR", home);
    expect(kernelInstall({ user: true })).toBe(join(home, "kernels", "steerlab", "kernel.json"));
    vi.stubEnv("JUPYTER_DATA_DIR", "");
    vi.stubEnv("XDG_DATA_HOME", "/x");
    if (process.platform === "linux") expect(userKernelFolder()).toBe("/x/jupyter/kernels");
  });

  it("refuses a prefix that does not exist, and programs that are not installed", () => {
    const prefix = join(temporaryFolder(), "none");
    expect(() => kernelInstall({ prefix })).toThrow(/existing folder/);
    expect(() => venvProgram("no-such-program")).toThrow(/npm run setup/);
    mkdirSync(prefix);
    expect(() => kernelInstall({ prefix })).not.toThrow();
  });
});
