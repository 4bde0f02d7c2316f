// Every interval kind and test of the stats room against data of known truth.
import type { Scenario } from "../simulation";
import { independent } from "./independent";
import { contrasts, rates } from "./rates";
import { crossedMedian, detectability, others } from "./scores";
import { tests } from "./tests";

export const scenarios: readonly Scenario[] = [
  ...rates,
  ...contrasts,
  ...detectability,
  ...others,
  crossedMedian,
  ...independent,
  ...tests,
];
