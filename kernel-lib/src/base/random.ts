/**
 * Seeded randomness as a value: `random(seed)` gives a stream; `fork(label)` gives an independent one.
 *
 * Stream: word i of the Philox4x32-10 sequence under a 64-bit key, so the whole state is (key, position) and can be
 * stored and restored. A fork's key is the first 8 bytes of SHA-256(key, label): it depends on the parent's key and the
 * label only, never on how many numbers the parent has given out, so adding a draw in one place moves nothing elsewhere.
 * There is no other source of randomness in the library: no global generator, no clock.
 */
import { createHash } from "node:crypto";
import { expected, InputError } from "./errors";
import { philox4x32 } from "./philox";

/** Everything needed to continue a stream: its key and the number of 32-bit words already used. */
export interface RandomState {
  /** 64-bit key as 16 hexadecimal digits */
  key: string;
  /** 32-bit words consumed so far */
  position: number;
}

/** A deterministic stream of random numbers. Same seed, same calls: same values. */
export interface Random {
  /** Uniform on [0, 1) with 53 random bits; uses two words. */
  uniform(): number;
  /** Standard normal (mean 0, variance 1) by Box-Muller; uses four words. */
  normal(): number;
  /** Uniform integer in [0, n), without modulo bias; 1 <= n <= 2^32. */
  integer(n: number): number;
  /** A shuffled copy (Fisher-Yates); every permutation equally likely. The input is left alone. */
  shuffle<T>(values: readonly T[]): T[];
  /** One element, each equally likely. @throws InputError "empty-pick" for an empty array */
  pick<T>(values: readonly T[]): T;
  /** An independent stream named by `label`; the parent does not move. */
  fork(label: string | number): Random;
  /** Where the stream stands; give it to `restoreRandom` to go on from here. */
  state(): RandomState;
}

const TWO_32 = 2 ** 32;
const KEY_PATTERN = /^[0-9a-f]{16}$/;

class PhiloxStream implements Random {
  private readonly keyWords: [number, number];
  private readonly block = new Uint32Array(4);
  private blockIndex = -1;

  constructor(
    private readonly key: string,
    private position: number,
  ) {
    this.keyWords = [Number.parseInt(key.slice(8), 16), Number.parseInt(key.slice(0, 8), 16)];
  }

  private word(): number {
    const index = Math.floor(this.position / 4);
    if (index !== this.blockIndex) {
      philox4x32([index % TWO_32, Math.floor(index / TWO_32), 0, 0], this.keyWords, this.block);
      this.blockIndex = index;
    }
    const value = this.block[this.position % 4];
    this.position += 1;
    return value;
  }

  uniform(): number {
    const high = this.word() >>> 5; // 27 bits
    const low = this.word() >>> 6; // 26 bits
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform())); // 1 - u is in (0, 1], so the log is finite
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  integer(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > TWO_32) {
      throw new InputError("random-range", expected("an integer 1 <= n <= 4294967296", "integer(n)", n));
    }
    const limit = TWO_32 - (TWO_32 % n); // words at or above it would favour small residues
    let word = this.word();
    while (word >= limit) word = this.word();
    return word % n;
  }

  shuffle<T>(values: readonly T[]): T[] {
    const out = values.slice();
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const held = out[i];
      out[i] = out[j];
      out[j] = held;
    }
    return out;
  }

  pick<T>(values: readonly T[]): T {
    if (values.length === 0) throw new InputError("empty-pick", expected("at least 1 value", "pick(values)", "[]"));
    return values[this.integer(values.length)];
  }

  fork(label: string | number): Random {
    // The type tag keeps fork(1) and fork("1") apart; the fixed-width key keeps the concatenation unambiguous.
    const text = `steerlab-fork:${this.key}:${typeof label}:${label}`;
    return new PhiloxStream(createHash("sha256").update(text, "utf8").digest("hex").slice(0, 16), 0);
  }

  state(): RandomState {
    return { key: this.key, position: this.position };
  }
}

/**
 * A random stream from a seed.
 *
 * @param seed integer, 0 <= seed <= 2^53 - 1
 * @returns a stream at position 0; bitwise reproducible wherever V8 runs (its log and cos are its own, not libc's)
 * @throws InputError "seed" for anything else
 *
 * @example
 * const rng = random(7);
 * const noise = rng.fork("noise").normal();
 * const order = rng.fork("order").shuffle([0, 1, 2, 3]);
 */
export function random(seed: number): Random {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new InputError("seed", expected("an integer 0 <= seed <= 9007199254740991", "seed", seed));
  }
  return new PhiloxStream(seed.toString(16).padStart(16, "0"), 0);
}

/**
 * Continues a stream from a stored state: the next value equals what the original would have given next.
 *
 * @throws InputError "random-state" if the state is malformed
 *
 * @example
 * const copy = restoreRandom(rng.state()); // copy.uniform() === rng.uniform()
 */
export function restoreRandom(state: RandomState): Random {
  const positionOk = Number.isSafeInteger(state.position) && state.position >= 0;
  if (typeof state.key !== "string" || !KEY_PATTERN.test(state.key) || !positionOk) {
    throw new InputError(
      "random-state",
      expected("{key: 16 hex digits, position: integer >= 0}", "state", JSON.stringify(state)),
    );
  }
  return new PhiloxStream(state.key, state.position);
}
