/**
 * One file of a repository into the cache's blobs folder: resumed where it stopped, proven by size and checksum, then named.
 *
 * Bytes go to `<etag>.incomplete`; only a file whose SHA-256 (large files) or git blob SHA-1 (small ones) is right gets its
 * name. A `.lock` file keeps two processes from writing the same blob (files/lock.ts).
 */
import { createHash, type Hash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { AbortedError, DataError, SteerlabError } from "../../base";
import { tryLock, writeFailure } from "../../files";
import { cacheError } from "./cache-error";
import { hubFetch, type RequestPurpose, responseError, TransientHubError } from "./client";
import type { HubEnvironment } from "./environment";

/** What the hub says of one file. */
export interface RemoteFile {
  name: string;
  size: number;
  /** 64 hex digits: SHA-256; 40: git blob SHA-1; anything else: an opaque tag that proves nothing */
  etag: string;
}

export interface BlobOptions {
  /** bytes of this file on disk so far */
  onBytes?: (bytes: number) => void;
  signal?: AbortSignal;
  /** first pause before a new attempt; doubles each time */
  retryDelayMs: number;
}

const ATTEMPTS = 5;

/**
 * Makes sure that the blob of `file` is in `blobs`, and gives its path.
 *
 * @param pathname address of the file below the endpoint
 * @throws DataError "hub-checksum", "hub-response", "hub-access", "hub-not-found", "hub-network"; AbortedError (what came is kept)
 */
export async function fetchBlob(
  hub: HubEnvironment,
  pathname: string,
  repo: string,
  blobs: string,
  file: RemoteFile,
  options: BlobOptions,
): Promise<string> {
  const target = path.join(blobs, file.etag);
  const finished = (): boolean => fs.statSync(target, { throwIfNoEntry: false })?.size === file.size;
  if (finished()) return target;
  fs.mkdirSync(blobs, { recursive: true });
  const unlock = await lock(`${target}.lock`, options.signal);
  try {
    for (let attempt = 1; !finished(); attempt++) {
      try {
        await fetchOnce(hub, pathname, { repo, what: file.name }, target, file, options);
      } catch (error) {
        if (!(error instanceof TransientHubError) || attempt >= ATTEMPTS) throw error;
        await pause(options.retryDelayMs * 2 ** (attempt - 1), options.signal);
      }
    }
  } finally {
    unlock();
  }
  return target;
}

/** One attempt: continue the incomplete file, then prove and name it. */
async function fetchOnce(
  hub: HubEnvironment,
  pathname: string,
  purpose: RequestPurpose,
  target: string,
  file: RemoteFile,
  options: BlobOptions,
): Promise<void> {
  const incomplete = `${target}.incomplete`;
  let have = fs.statSync(incomplete, { throwIfNoEntry: false })?.size ?? 0;
  if (have > file.size) {
    fs.rmSync(incomplete);
    have = 0;
  }
  const hash = checksum(file);
  if (have < file.size || file.size === 0)
    have = await receive(hub, pathname, purpose, incomplete, have, file, options);
  if (have < file.size)
    throw new TransientHubError(
      "hub-network",
      `Expected ${file.size} bytes of ${purpose.what} but the connection ended after ${have}.`,
    );
  for await (const piece of fs.createReadStream(incomplete, { highWaterMark: 1 << 20 })) hash?.update(piece as Buffer);
  if (hash !== null && hash.digest("hex") !== file.etag) {
    fs.rmSync(incomplete);
    throw new TransientHubError(
      "hub-checksum",
      `Expected ${purpose.what} of ${purpose.repo} with checksum ${file.etag.slice(0, 12)} but received other bytes. The download was thrown away.`,
    );
  }
  fs.renameSync(incomplete, target);
}

/** Appends the missing bytes; returns how many the file then has. */
async function receive(
  hub: HubEnvironment,
  pathname: string,
  purpose: RequestPurpose,
  incomplete: string,
  have: number,
  file: RemoteFile,
  options: BlobOptions,
): Promise<number> {
  const headers: Record<string, string> = have > 0 ? { range: `bytes=${have}-` } : {};
  const response = await hubFetch(hub, pathname, purpose, { headers, signal: options.signal });
  const resumed = response.status === 206;
  if (resumed && !(response.headers.get("content-range") ?? "").startsWith(`bytes ${have}-`)) {
    await response.body?.cancel();
    throw responseError(purpose, `bytes from ${have} on`, response.headers.get("content-range") ?? "no content-range");
  }
  let done = resumed ? have : 0; // a server that knows no ranges sends everything again
  const handle = await fs.promises.open(incomplete, resumed ? "a" : "w");
  try {
    options.onBytes?.(done);
    for await (const piece of (response.body ?? []) as unknown as AsyncIterable<Uint8Array>) {
      done += piece.byteLength;
      if (done > file.size) throw responseError(purpose, `${file.size} bytes`, "more");
      await handle.writeFile(piece);
      options.onBytes?.(done);
    }
    await handle.sync();
  } catch (cause) {
    if (options.signal?.aborted === true) throw new AbortedError();
    if (cause instanceof DataError) throw cause;
    const refused = cacheError(cause, incomplete);
    if (refused !== null) throw refused; // the disk, not the connection: another attempt would fail as well
    const failure = writeFailure(incomplete, cause); // a full disk is not the network's fault
    if (failure instanceof SteerlabError) throw failure;
    throw new TransientHubError(
      "hub-network",
      `Expected ${file.size} bytes of ${purpose.what} but the connection broke after ${done}.`,
    );
  } finally {
    await handle.close();
  }
  return done;
}

/** The hash that the tag promises, or null if the tag proves nothing. */
function checksum(file: RemoteFile): Hash | null {
  if (/^[0-9a-f]{64}$/.test(file.etag)) return createHash("sha256");
  if (/^[0-9a-f]{40}$/.test(file.etag)) return createHash("sha1").update(`blob ${file.size}\0`);
  return null;
}

async function lock(file: string, signal?: AbortSignal): Promise<() => void> {
  for (;;) {
    const attempt = tryLock(file);
    if (attempt.held) return attempt.release;
    await pause(100, signal);
  }
}

function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(new AbortedError());
    };
    if (signal?.aborted === true) return reject(new AbortedError());
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
