// Every interval kind and test of the stats room against data of known truth.
import type { Scenario } from "../simulation";
import { effects } from "./effects";
import { independent } from "./independent";
import { contrasts, rates } from "./rates";
import { planning, selection } from "./selection";
import { crossedMedian, detectability, others } from "./scores";
import { sizedContrasts, sizedScores, sizes } from "./sizes";
import { tests } from "./tests";

export const scenarios: readonly Scenario[] = [
  ...rates,
  ...sizes,
  ...contrasts,
  ...sizedContrasts,
  ...detectability,
  ...sizedScores,
  ...others,
  ...effects,
  ...selection,
  crossedMedian,
  ...independent,
  ...tests,
  ...planning,
];
