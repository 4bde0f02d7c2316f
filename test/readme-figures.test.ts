// README's tables of the lab model against the records that they are of. Records of the lab model are not shipped, so a folder of
// runs has to be named: STEERLAB_README_RUNS=runs/batch; with STEERLAB_README_WRITE=1 the tables are written into README anew.
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { lineOf, readmeTables, rowsBelow } from "./helpers/readme-tables";

const file = path.resolve(__dirname, "..", "README.md");
const named = process.env.STEERLAB_README_RUNS ?? "";

/** Folders with a meta.json in it or below, records packed or not. */
function runsBelow(folder: string): string[] {
  const names = fs.readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names
    .filter((name) => path.basename(name) === "meta.json")
    .map((name) => path.dirname(path.join(folder, name)));
}

describe("README's tables of the lab model", () => {
  it.skipIf(named === "")(
    `say what the records say${named === "" ? " (no folder: STEERLAB_README_RUNS names one)" : ""}`,
    { timeout: 600_000 },
    () => {
      const tables = readmeTables(runsBelow(path.resolve(named)));
      expect(tables.length).toBeGreaterThan(0);
      const before = fs.readFileSync(file, "utf8");
      const after = tables.reduce((text, { head, rows }) => {
        const [old, made] = [rowsBelow(text, head), rows.map(lineOf)];
        console.log([head, ...made].join("\n"));
        return text.replace(old.join("\n"), () => made.join("\n"));
      }, before);
      if (process.env.STEERLAB_README_WRITE === "1") fs.writeFileSync(file, after);
      else for (const { head, rows } of tables) expect(rowsBelow(before, head)).toEqual(rows.map(lineOf));
    },
  );

  it("are found by their heads", () => {
    const text = fs.readFileSync(file, "utf8");
    for (const head of [
      "| | before training | after training |",
      "| lab model, seed 1; adapter trained by | card | strict |",
    ])
      expect(rowsBelow(text, head).length, head).toBeGreaterThan(10);
  });
});
