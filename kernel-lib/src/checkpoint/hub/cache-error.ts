/**
 * What the system says when the cache cannot be written, as a sentence with the place and the variable to set.
 */
import { DeviceError } from "../../base";

/** The error for a system's refusal to write into the cache, or null if `cause` is something else. */
export function cacheError(cause: unknown, cache: string): DeviceError | null {
  const { code = "", path: place = cache } = (cause ?? {}) as { code?: unknown; path?: string };
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new DeviceError(
      "disk-space",
      `Expected room for ${place} but the disk is full. Set HF_HUB_CACHE to a larger disk; what came so far is kept.`,
      { cause },
    );
  }
  if (code === "EACCES" || code === "EROFS" || code === "EPERM" || code === "ENOTDIR") {
    return new DeviceError(
      "cache-read-only",
      `Expected to use ${place} in the hub cache but the system refuses (${code}). Set HF_HUB_CACHE (or HF_HOME) to a folder that you may read and write.`,
      { cause },
    );
  }
  return null;
}
