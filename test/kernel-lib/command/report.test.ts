/** `steerlab report`: what stands for which runs, and where the page goes. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { report, reportRuns } from "../../../kernel-lib/src/command";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "report-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let batch: string;
let count = 0;
beforeEach(() => {
  batch = path.join(root, String(count++));
  fs.mkdirSync(batch);
});

function run(second: number, kind: string, adapterHash: string | null, marker: string | null = "DONE"): string {
  const folder = path.join(batch, `20300102-0304${String(second).padStart(2, "0")}-${kind}-s1`);
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, "meta.json"), JSON.stringify({ kind, adapterHash, model: "m" }));
  if (marker !== null) fs.writeFileSync(path.join(folder, marker), "");
  return folder;
}

describe("reportRuns", () => {
  it("takes a folder of runs for its finished ones: the newest adapter first, evaluations before their training", () => {
    const old = [run(1, "train", "a"), run(2, "detection", "a")];
    const base = run(3, "detection", null);
    const young = [run(4, "train", "b"), run(6, "side-effects", "b"), run(5, "detection", "b")];
    const open = run(7, "identity", "b", null);
    run(8, "self-prediction", "b", "FAILED");
    fs.mkdirSync(path.join(batch, "notes"));
    const { folders, left } = reportRuns([batch]);
    expect(folders).toEqual([young[2], young[1], young[0], old[1], old[0], base]);
    expect(left.map(({ path: folder }) => folder)).toContain(open);
    expect(left).toHaveLength(2);
    expect(reportRuns([old[0], batch]).folders).toEqual([old[0], young[2], young[1], young[0], old[1], base]);
    expect(reportRuns([open]).folders).toEqual([open]);
  });

  it("takes the runs of the folders below as well, and says which lie within a run", () => {
    const above = batch;
    const own = run(1, "train", "a");
    batch = path.join(above, "night", "twins");
    fs.mkdirSync(batch, { recursive: true });
    const twin = [run(2, "train", "b"), run(3, "detection", "b")];
    batch = path.join(twin[1], "imported");
    fs.mkdirSync(batch);
    const imported = run(4, "detection", "b");
    batch = above;
    const { folders, inner } = reportRuns([above]);
    expect(folders).toEqual([twin[1], twin[0], own]);
    expect(inner.map(({ path: folder }) => folder)).toEqual([imported]);
    expect(reportRuns([path.join(twin[1], "imported")])).toMatchObject({ folders: [imported], inner: [] });
  });

  it("refuses what holds no run, or none that has ended", () => {
    const file = path.join(batch, "file.txt");
    fs.writeFileSync(file, "");
    for (const given of [batch, file, path.join(file, "below"), path.join(batch, "nowhere")])
      expect(() => reportRuns([given]), given).toThrowError(expect.objectContaining({ code: "run-folder" }));
    run(1, "train", "a", null);
    expect(() => reportRuns([batch])).toThrow(/at least one finished run/);
    expect(() => reportRuns([path.join(batch, "absent")])).toThrow(/a run folder with meta\.json, or a folder of them/);
  });
});

describe("steerlab report", () => {
  it("takes --out anywhere on the line, else writes into the first folder given", async () => {
    const [one, two] = [run(1, "train", "a"), run(2, "train", "b")];
    const out = path.join(batch, "new", "page.html");
    await report(["--out", out, one, two]);
    expect(fs.readFileSync(out, "utf8")).toContain("20300102-030402-train-s1");
    await report([batch]);
    expect(fs.existsSync(path.join(batch, "report.html"))).toBe(true);
    await report([one]);
    expect(fs.existsSync(path.join(one, "report.html"))).toBe(true);
    await expect(report([one, "--out", batch])).rejects.toMatchObject({ code: "out-kind" });
    await expect(report([one, "--out", "/proc/foo"])).rejects.toMatchObject({ code: "out-folder" });
  });
});
