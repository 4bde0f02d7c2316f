// Coverage of every interval kind and false positives of every test, by simulation with crossed clusters.
import { expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import { scenarios, simulate } from "./scenarios";

for (const scenario of scenarios) {
  it(scenario.name, () => {
    const t = Date.now();
    const { share, width } = simulate(scenario, scenario.sets, random(20));
    console.log(`${share.toFixed(3)} w ${width?.toFixed(3)} ${Date.now() - t} ms  ${scenario.kind} ${scenario.name}`);
    expect(true).toBe(true);
  });
}
