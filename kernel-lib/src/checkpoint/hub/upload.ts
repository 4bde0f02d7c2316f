/**
 * A folder's files into a repository of the hub: one commit, large files by way of the hub's storage (Git LFS, "basic" transfers).
 *
 * create the repository -> ask which files are large -> put those into storage -> commit all. The token goes to the hub alone:
 * storage addresses carry their own signature. Formats: the HTTP API of the Hugging Face hub; the batch API and basic transfers of Git LFS.
 */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { Readable } from "node:stream";
import { AbortedError, DataError, InputError, scrubSecrets } from "../../base";
import { hubFetch, type RequestPurpose, responseError, TransientHubError } from "./client";
import { type HubEnvironment, hubEnvironment } from "./environment";

export interface UploadOptions {
  /** a new repository is private; default false */
  private?: boolean;
  /** first line of the commit */
  message?: string;
  /** files done, of all */
  onProgress?: (done: number, total: number, file: string) => void;
  signal?: AbortSignal;
  /** default process.env */
  env?: NodeJS.ProcessEnv;
}

/** Bytes of a file's beginning that the hub looks at to tell text from binary. */
const SAMPLE_BYTES = 512;
const LFS_JSON = "application/vnd.git-lfs+json";
/** What the hub allows in all. */
const REPO_CHARACTERS = 96;
const REPO = /^[A-Za-z0-9][A-Za-z0-9._-]*\/[A-Za-z0-9][A-Za-z0-9._-]*$/;

interface LocalFile {
  name: string;
  place: string;
  size: number;
}

/**
 * Uploads files to the main branch of a model repository, which is made if it is not there.
 *
 * @param repo `org/name`   @param files names within the folder, plain
 * @returns address of the commit or the repository
 * @throws InputError "hub-name", "hub-token" before anything is sent, "hub-offline"; DataError "hub-access", "hub-not-found",
 *   "hub-response", "hub-network"; AbortedError
 * @example
 * await uploadFolder("org/detector", "runs/x/publication", ["README.md", "adapter_model.safetensors"]);
 */
export async function uploadFolder(
  repo: string,
  folder: string,
  files: readonly string[],
  options: UploadOptions = {},
): Promise<string> {
  const hub = writable(repo, options);
  const local = files.map((name): LocalFile => {
    const place = path.join(folder, name);
    return { name, place, size: fs.statSync(place).size };
  });
  const [organization, name] = repo.split("/");
  await post(hub, repo, "the repository", "/api/repos/create", options, {
    name,
    organization,
    type: "model",
    private: options.private ?? false,
  });
  const large = await largeFiles(hub, repo, local, options);
  const lines: object[] = [{ key: "header", value: { summary: options.message ?? "Upload by steerlab" } }];
  for (const [done, file] of local.entries()) {
    options.onProgress?.(done, local.length, file.name);
    lines.push(large.has(file.name) ? await stored(hub, repo, file, options) : inline(file));
  }
  const body = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  const address = `/api/models/${repo}/commit/main`;
  const answer = await post(hub, repo, "the commit", address, options, body, "application/x-ndjson");
  options.onProgress?.(local.length, local.length, "commit");
  return typeof answer.commitUrl === "string" ? answer.commitUrl : `${hub.endpoint}/${repo}`;
}

/** What must be so before anything is sent. @throws InputError "hub-name", "hub-token", "hub-offline" */
export function writable(repo: string, options: Pick<UploadOptions, "env"> = {}): HubEnvironment {
  checkRepository(repo);
  const hub = hubEnvironment(options.env);
  if (hub.offline)
    throw new InputError("hub-offline", "Expected a network for an upload but HF_HUB_OFFLINE is set. Unset it.");
  if (hub.token === null)
    throw new InputError(
      "hub-token",
      "Expected a token with write access in HF_TOKEN but found none. Make one in the hub's settings.",
    );
  return hub;
}

/** Whether a repository can have this name, as far as can be told without the hub. @throws InputError "hub-name" */
export function checkRepository(repo: string): void {
  const isName = REPO.test(repo) && !/--|\.\.|[.-]$|\.git$/.test(repo) && repo.length <= REPO_CHARACTERS;
  if (!isName)
    throw new InputError("hub-name", `Expected org/name for the repository but received ${JSON.stringify(repo)}.`);
}

/** One POST and its JSON; a repository that is there already is no failure. */
async function post(
  hub: HubEnvironment,
  repo: string,
  what: string,
  pathname: string,
  { signal }: UploadOptions,
  content: object | string,
  type = "application/json",
): Promise<Record<string, unknown>> {
  const purpose: RequestPurpose = { repo, what };
  const body = typeof content === "string" ? content : JSON.stringify(content);
  const headers = { "content-type": type, accept: type === LFS_JSON ? LFS_JSON : "application/json" };
  const accepted = pathname === "/api/repos/create" ? [409] : [];
  const response = await hubFetch(hub, pathname, purpose, { method: "POST", body, headers, accepted, signal });
  const text = await response.text();
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    if (accepted.includes(response.status)) return {};
    throw responseError(purpose, "JSON", "something else");
  }
}

/** Names of the files that the hub wants in its storage. */
async function largeFiles(
  hub: HubEnvironment,
  repo: string,
  files: readonly LocalFile[],
  options: UploadOptions,
): Promise<ReadonlySet<string>> {
  const described = files.map(({ name, place, size }) => ({ path: name, size, sample: sampleOf(place) }));
  const address = `/api/models/${repo}/preupload/main`;
  const answer = await post(hub, repo, "the list of files", address, options, { files: described });
  const modes = Array.isArray(answer.files) ? (answer.files as { path?: unknown; uploadMode?: unknown }[]) : [];
  const unknown = files.find(({ name }) => !modes.some((mode) => mode.path === name));
  if (unknown !== undefined)
    throw responseError({ repo, what: "the list of files" }, `how to upload ${unknown.name}`, "nothing of it");
  return new Set(modes.filter(({ uploadMode }) => uploadMode === "lfs").map((mode) => String(mode.path)));
}

function sampleOf(place: string): string {
  const handle = fs.openSync(place, "r");
  try {
    const bytes = Buffer.alloc(SAMPLE_BYTES);
    return bytes.subarray(0, fs.readSync(handle, bytes, 0, SAMPLE_BYTES, 0)).toString("base64");
  } finally {
    fs.closeSync(handle);
  }
}

/** A small file's line of the commit: its bytes. */
function inline({ name, place }: LocalFile): object {
  const content = fs.readFileSync(place).toString("base64");
  return { key: "file", value: { path: name, encoding: "base64", content } };
}

interface LfsAction {
  href: string;
  header?: Record<string, string>;
}

/** Puts a large file into storage, unless it is there, and gives its line of the commit. */
async function stored(hub: HubEnvironment, repo: string, file: LocalFile, options: UploadOptions): Promise<object> {
  const { name, place, size } = file;
  const hash = createHash("sha256");
  for await (const piece of fs.createReadStream(place, { highWaterMark: 1 << 20 })) hash.update(piece as Buffer);
  const oid = hash.digest("hex");
  const batch = { operation: "upload", transfers: ["basic"], hash_algo: "sha256", objects: [{ oid, size }] };
  const address = `/${repo}.git/info/lfs/objects/batch`;
  const answer = await post(hub, repo, name, address, options, batch, LFS_JSON);
  const [object] = (answer.objects ?? []) as { error?: unknown; actions?: Record<string, LfsAction> }[];
  if (object === undefined || object.error !== undefined)
    throw responseError({ repo, what: name }, "a place in storage", "none");
  const { upload, verify } = object.actions ?? {};
  if (upload !== undefined) await putFile(hub, repo, file, upload, options);
  if (verify !== undefined) await verified(hub, repo, name, verify, { oid, size }, options);
  return { key: "lfsFile", value: { path: name, algo: "sha256", oid, size } };
}

/** The storage's address is signed: no token, and never in a message. */
async function putFile(
  hub: HubEnvironment,
  repo: string,
  { name, place, size }: LocalFile,
  { href, header = {} }: LfsAction,
  { signal }: UploadOptions,
): Promise<void> {
  const target = new URL(href, hub.endpoint);
  if (hub.endpoint.startsWith("https:") && target.protocol !== "https:")
    throw responseError({ repo, what: name }, "a secure address of storage", "plain http");
  const body = Readable.toWeb(fs.createReadStream(place)) as ReadableStream<Uint8Array>;
  const request = { method: "PUT", headers: { ...header, "content-length": String(size) }, body, duplex: "half" };
  let status: number;
  try {
    const response = await fetch(target, { ...request, redirect: "error", signal } as RequestInit);
    status = response.status;
    await response.body?.cancel();
  } catch (cause) {
    if (signal?.aborted === true) throw new AbortedError();
    const why = (cause as { cause?: { code?: string } }).cause?.code ?? "no answer";
    throw new TransientHubError(
      "hub-network",
      `Expected storage to take ${name} of ${repo} but the connection failed (${scrubSecrets(why, [hub.token])}). Run the same again.`,
    );
  }
  if (status < 200 || status > 299)
    throw new DataError("hub-response", `Expected storage to take ${name} of ${repo} but it answered ${status}.`);
}

/** Some hubs want to be told that storage has the file; theirs is an address of their own. */
async function verified(
  hub: HubEnvironment,
  repo: string,
  name: string,
  { href }: LfsAction,
  object: { oid: string; size: number },
  options: UploadOptions,
): Promise<void> {
  const target = new URL(href, hub.endpoint);
  const root = new URL(hub.endpoint);
  if (target.origin !== root.origin)
    throw responseError({ repo, what: name }, "the hub's own address to verify at", "another host's");
  const below = `${target.pathname.slice(root.pathname === "/" ? 0 : root.pathname.length)}${target.search}`;
  await post(hub, repo, name, below, options, object, LFS_JSON);
}
