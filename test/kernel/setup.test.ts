// The set-up: quick when nothing has changed, and a clear sentence when Python is missing.
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { command, ROOT, temporaryFolder } from "../helpers/notebook";

describe("npm run setup", () => {
  it("returns at once when everything is there", async () => {
    const start = Date.now();
    const { status, stdout } = await command(process.execPath, [join(ROOT, "kernel-lib", "jupyter", "setup.mjs")]);
    expect(status).toBe(0);
    expect(stdout).toBe("steerlab setup: .venv is up to date\n");
    expect(Date.now() - start).toBeLessThan(10_000);
  });

  it("says what to install when there is no Python, and writes nothing", async () => {
    const root = temporaryFolder();
    cpSync(join(ROOT, "kernel-lib", "jupyter"), join(root, "kernel-lib", "jupyter"), { recursive: true });
    const script = join(root, "kernel-lib", "jupyter", "setup.mjs");
    const { status, stderr } = await command("env", ["-i", "PATH=/nowhere", process.execPath, script]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^steerlab setup: Expected Python >= 3\.11 but none was found\. Install it/);
    expect(existsSync(join(root, ".venv"))).toBe(false);
  });

  it("pins every Python package, those that others pull in included", () => {
    const text = readFileSync(join(ROOT, "kernel-lib", "jupyter", "requirements.txt"), "utf8");
    const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    expect(lines.length).toBeGreaterThan(60);
    for (const line of lines) expect(line).toMatch(/^[A-Za-z0-9_.-]+==[A-Za-z0-9.]+$/);
  });
});
