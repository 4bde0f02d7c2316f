/**
 * What makes two runs the same run: everything that decides a run's bytes, part by part, by hash or by name.
 *
 * Written into meta.json and into every checkpoint; the one thing that finding, resuming, sharing and refusing a run folder go by.
 * What is no part of it (threads, batch split, place, time) never changes the bytes on the same arithmetic.
 */
import { DataError } from "../base";
import type { Engine } from "../engine";

/** Parts by name; null where a part does not apply. */
export type RunIdentity = Readonly<Record<string, string | number | null>>;

/**
 * The identity of a run of `kind` on a model.
 * @param parts what else decides the bytes: protocol, seed, adapter, directions, settings; hashes in full
 * @example
 * runIdentity("detection", model, { protocol: protocolHash(protocol), seed: 7, adapter: adapter.hash });
 */
export function runIdentity(
  kind: string,
  model: { engine: Pick<Engine, "backend" | "dtype" | "arithmetic">; hash: string | null },
  parts: RunIdentity,
): RunIdentity {
  const { backend, dtype, arithmetic } = model.engine;
  return { kind, model: model.hash, backend, dtype, arithmetic, ...parts };
}

/**
 * Parts in which two identities differ, in words: "dtype (f32, now bf16)".
 * A part that only one of them has is of a run older than the part: unknown, and not counted as different.
 */
export function identityDifferences(recorded: RunIdentity, now: RunIdentity): string[] {
  return Object.keys(now)
    .filter((part) => part in recorded && recorded[part] !== now[part])
    .map((part) => `${part} (${shown(recorded[part])}, now ${shown(now[part])})`);
}

/** @throws DataError "run-mismatch" listing what differs, or for a run that says nothing of itself */
export function requireSameRun(place: string, recorded: RunIdentity, now: RunIdentity): void {
  if (Object.keys(recorded).length === 0) {
    throw new DataError(
      "run-mismatch",
      `Expected a run that says what it was made of in ${place} but its meta.json has no identity (an older version wrote it). Leave the folder out to start a new run; reports still read the old one.`,
    );
  }
  const differs = identityDifferences(recorded, now);
  if (differs.length === 0) return;
  throw new DataError(
    "run-mismatch",
    `Expected the run of ${place} to be of the same making but these differ: ${differs.join(", ")}. Go on with what it was started with, or leave the folder out to start a new run.`,
  );
}

const HASH = /^[0-9a-f]{64}$/;

function shown(value: string | number | null): string {
  if (value === null) return "none";
  return typeof value === "string" && HASH.test(value) ? value.slice(0, 12) : String(value);
}
