/**
 * The largest of several rates, such as the false alarms of the worst wording.
 *
 * The observed largest was chosen for being large, so its own interval lies too high. The interval here is of the largest true rate,
 * whichever it is: some rate lies above its low end, so the highest of the low ends will do, each at the level that keeps all of them
 * (Bonferroni); the rate that is truly largest lies below its own high end, so the highest of the high ends will do as it is.
 */
import { type ClusteredEstimate, clusteredRate, type ClusterOptions, type ClusterSample, nothing } from "./clustered";
import { checkLevel, DEFAULT_LEVEL, percent } from "./estimate";

/** The largest rate and whose it is. */
export interface LargestRate extends ClusteredEstimate {
  /** place of the sample with the largest observed rate; null without trials */
  at: number | null;
}

/**
 * Largest of several rates with an interval for the largest true rate.
 *
 * @param samples one per wording (category, ...), asked of the same or of other clusters; empty ones do not count
 * @returns value, n and clusters of the sample with the largest observed rate (which overstates the largest true one); interval null
 *   if any sample has none
 * @throws InputError "outcome", "unpaired", "level"
 *
 * @example
 * largestRate(wordings.map(({ says, topics }) => ({ outcomes: says, clusters: { topic: topics } })));
 */
export function largestRate(samples: readonly ClusterSample[], options: ClusterOptions = {}): LargestRate {
  const level = checkLevel(options.level ?? DEFAULT_LEVEL);
  const rates = samples.map(({ outcomes, clusters }) => clusteredRate(outcomes, clusters, options));
  const known = rates.filter(({ value }) => value !== null);
  if (known.length === 0) return { ...nothing(0, "largest of no rates"), at: null };
  const largest = known.reduce((one, other) => ((other.value as number) > (one.value as number) ? other : one));
  const found = { ...largest, at: rates.indexOf(largest) };
  const without = known.find(({ low }) => low === null);
  if (without !== undefined)
    return {
      ...found,
      low: null,
      high: null,
      method: `largest of ${known.length}, of which one has ${without.method}`,
    };
  const each = 1 - (1 - level) / known.length;
  const lows = samples.map(
    ({ outcomes, clusters }) => clusteredRate(outcomes, clusters, { ...options, level: each }).low ?? 0,
  );
  return {
    ...found,
    low: Math.max(...lows),
    high: Math.max(...known.map(({ high }) => high as number)),
    method: `largest of ${known.length}, low ends at ${percent(each)}; the largest: ${largest.method}`,
  };
}
