/**
 * A model or adapter by folder, by .gguf file or by hub name `org/name[@revision]` -> a folder on disk that holds its files. An
 * adapter may lie in a folder of its repository: `org/name/step_0900[@revision]`.
 *
 * Cache layout of the Python library: models--org--name/{blobs/<etag>, refs/<revision>, snapshots/<commit>/<file -> blob>,
 * .no_exist/<commit>/<file>}.
 * A complete cached snapshot is used as it is, without asking the hub, so that the same name gives the same bytes until
 * `refresh` is asked for. Only the files that are read are fetched: config, tokenizer, template, safetensors.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { DataError, DeviceError, expected, InputError } from "../../base";
import { isGgufFile, makeFolder, writeFileAtomic } from "../../files";
import { fetchBlob, type RemoteFile } from "./blob";
import { cacheError } from "./cache-error";
import { hubFetch, type RequestPurpose, responseError } from "./client";
import { type HubEnvironment, hubEnvironment } from "./environment";

export interface ResolveOptions {
  /** ask the hub whether the revision has moved, even if it is cached; default false */
  refresh?: boolean;
  /** bytes on disk and in all, and the file under way */
  onProgress?: (done: number, total: number, file: string) => void;
  signal?: AbortSignal;
  /** default process.env */
  env?: NodeJS.ProcessEnv;
  /** folder of an adapter within its repository or folder, as PEFT's `subfolder`; a name may say it instead */
  subfolder?: string;
  /** first pause before a new attempt, milliseconds; default 500 */
  retryDelayMs?: number;
}

/** What a kind of repository must hold, and what else of it is read. */
interface RepoKind {
  noun: string;
  required: readonly string[];
  optional: readonly string[];
  /** weights: one of these single files, or the index with its shards */
  single: string;
  index: string | null;
  /** texts without which a cached snapshot is asked for the rest; one of each group */
  texts: readonly (readonly string[])[];
  /** whether it may lie in a folder of the repository */
  nested: boolean;
}

const MODEL: RepoKind = {
  noun: "model",
  required: ["config.json"],
  optional: ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"],
  single: "model.safetensors",
  index: "model.safetensors.index.json",
  texts: [["tokenizer.json"], ["tokenizer_config.json", "chat_template.jinja"]],
  nested: false,
};
const ADAPTER: RepoKind = {
  noun: "adapter",
  required: ["adapter_config.json"],
  optional: ["steerlab.json"],
  single: "adapter_model.safetensors",
  index: null,
  texts: [],
  nested: true,
};

/** Where the cache remembers, by an empty file each, what a commit does not have: nobody asks for it again. */
const NO_EXIST = ".no_exist";

const HUB_NAME =
  /^([A-Za-z0-9][A-Za-z0-9._-]*\/[A-Za-z0-9][A-Za-z0-9._-]*)((?:\/[A-Za-z0-9_][A-Za-z0-9._-]*)*)(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?$/;

/** Where a name points: a repository, a commit or its name, and a folder within ("" for none). */
interface Place {
  repo: string;
  revision: string;
  inside: string;
}

/** @throws InputError "hub-name" */
function placeOf(name: string, kind: RepoKind, subfolder: string | undefined): Place {
  const match = HUB_NAME.exec(name);
  const [, repo, within, revision = "main"] = match ?? ["", "", ""];
  const folders = [...within.split("/"), ...(subfolder ?? "").split("/")].filter((part) => part !== "");
  const dots = [...folders, ...revision.split("/")].some((part) => /^\.\.?$/.test(part));
  if (match === null || dots || name.includes("--") || (folders.length > 0 && !kind.nested)) {
    const places = kind === MODEL ? "an existing folder, a .gguf file" : "an existing folder";
    const form = `${places} or a hub name org/name${kind.nested ? "[/folder]" : ""}[@revision]`;
    throw new InputError("hub-name", expected(form, kind.noun, name));
  }
  const first = repo.split("/")[0];
  if (within !== "" && fs.existsSync(first)) {
    const mistyped = `There is no such folder here, though there is ${first}: name an organisation of the hub, or mend the path.`;
    throw new InputError("hub-name", expected("an existing folder", kind.noun, name, mistyped));
  }
  if (!folders.every((part) => FILE_NAME.test(part)))
    throw new InputError("hub-name", expected("a plain relative path", "subfolder", subfolder));
  return { repo, revision, inside: folders.join("/") };
}

/** One part of a file's path: nothing that leads out of a folder. */
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;

/**
 * The folder of a model, or its GGUF file.
 *
 * @param name an existing folder or .gguf file, or `org/name[@branch, tag or commit]`
 * @throws InputError "hub-name"; DataError "hub-offline", "hub-access", "hub-not-found", "hub-network", "hub-checksum",
 *   "hub-response", "hub-files" (the repository lacks a file); DeviceError "disk-space", "cache-read-only"; InputError "out-folder"; AbortedError
 *
 * @example
 * const folder = await resolveModel("Qwen/Qwen2.5-0.5B-Instruct");
 */
export function resolveModel(name: string, options: ResolveOptions = {}): Promise<string> {
  return resolve(name, MODEL, options);
}

/**
 * The folder of an adapter.
 *
 * @param name an existing folder, or `org/name[/folder][@revision]`
 * @throws as `resolveModel`
 *
 * @example
 * const folder = await resolveAdapter("org/detector/step_0900");
 */
export function resolveAdapter(name: string, options: ResolveOptions = {}): Promise<string> {
  return resolve(name, ADAPTER, options);
}

async function resolve(name: string, kind: RepoKind, options: ResolveOptions): Promise<string> {
  const there = fs.statSync(name, { throwIfNoEntry: false });
  if (kind === MODEL && isGgufFile(name)) return path.resolve(name);
  if (there?.isDirectory() === true) return path.resolve(name, options.subfolder ?? "");
  const place = placeOf(name, kind, options.subfolder);
  const hub = hubEnvironment(options.env);
  try {
    return await fromHub(hub, name, place, kind, options);
  } catch (error) {
    throw cacheError(error, hub.cache) ?? error;
  }
}

/** The snapshot of a hub name: from the cache where it is complete, else from the hub. */
async function fromHub(
  hub: HubEnvironment,
  name: string,
  place: Place,
  kind: RepoKind,
  options: ResolveOptions,
): Promise<string> {
  const store = path.join(hub.cache, `models--${place.repo.replace("/", "--")}`);
  const cached = cachedSnapshot(store, place, kind);
  const wanted = options.refresh === true && !hub.offline;
  if (cached !== null && !wanted && (cached.complete || hub.offline)) return cached.folder;
  if (hub.offline) {
    throw new DataError(
      "hub-offline",
      `Expected ${kind.noun} ${name} in ${hub.cache} but it is not complete there, and HF_HUB_OFFLINE is set. ${otherCommits(store, place, kind)} There is no folder ${name} on this machine either.`,
    );
  }
  try {
    // what is missing beside cached weights comes from the same commit: the name keeps its bytes until a refresh
    const revision = cached !== null && !wanted ? cached.commit : place.revision;
    return await download(hub, { ...place, revision }, store, kind, options);
  } catch (error) {
    const unreachable =
      error instanceof DataError && ["hub-network", "hub-not-found", "hub-access"].includes(error.code);
    if (unreachable && cached !== null && !wanted) return cached.folder; // weights are there; what needs the texts says so
    // A mistyped folder looks like a hub name: say that it was looked for.
    throw unreachable
      ? new DataError(error.code, `${error.message} There is no folder ${name} on this machine either.`, {
          cause: error,
        })
      : error;
  }
}

/** A cached snapshot that has its config and weights; complete: its texts too. */
interface CachedSnapshot {
  folder: string;
  commit: string;
  complete: boolean;
}

/** The snapshot that a revision stands for, if its weights are there. */
function cachedSnapshot(store: string, { revision, inside }: Place, kind: RepoKind): CachedSnapshot | null {
  const reference = path.join(store, "refs", ...revision.split("/"));
  const isFile = fs.statSync(reference, { throwIfNoEntry: false })?.isFile() ?? false;
  const commit = isFile ? fs.readFileSync(reference, "utf8").trim() : revision;
  if (!/^[A-Za-z0-9._-]+$/.test(commit) || commit.startsWith(".")) return null;
  const folder = path.join(store, "snapshots", commit, inside);
  const has = (file: string): boolean => fs.existsSync(path.join(folder, file));
  if (!kind.required.every(has) || !hasWeights(folder, kind, has)) return null;
  const absent = (file: string): boolean => fs.existsSync(path.join(store, NO_EXIST, commit, inside, file));
  return { folder, commit, complete: kind.texts.every((group) => group.some(has) || group.every(absent)) };
}

function hasWeights(folder: string, kind: RepoKind, has: (file: string) => boolean): boolean {
  if (has(kind.single)) return true;
  if (kind.index === null || !has(kind.index)) return false;
  return shardsOf(fs.readFileSync(path.join(folder, kind.index), "utf8"))?.every(has) === true;
}

/** What to do offline when a revision is not there: commits that are, by name. */
function otherCommits(store: string, { repo, inside }: Place, kind: RepoKind): string {
  const snapshots = path.join(store, "snapshots");
  const names = fs.existsSync(snapshots) ? fs.readdirSync(snapshots).sort() : [];
  const whole = names.filter((commit) => cachedSnapshot(store, { repo, inside, revision: commit }, kind) !== null);
  if (whole.length === 0) return "Fetch it once with the network on.";
  const where = path.posix.join(repo, inside);
  return `The cache holds ${whole.map((commit) => `${where}@${commit}`).join(", ")}: ask for that by name.`;
}

/** File names in an index, or null if it is not an index; names with a folder part are refused later by the checkpoint. */
function shardsOf(indexText: string): string[] | null {
  try {
    const map = (JSON.parse(indexText) as { weight_map?: Record<string, unknown> }).weight_map ?? {};
    const names = [...new Set(Object.values(map))];
    return names.length > 0 && names.every((name) => typeof name === "string") ? (names as string[]) : null;
  } catch {
    return null;
  }
}

async function download(
  hub: HubEnvironment,
  { repo, revision, inside }: Place,
  store: string,
  kind: RepoKind,
  options: ResolveOptions,
): Promise<string> {
  const purpose: RequestPurpose = { repo, what: `revision ${revision}` };
  const listing = `/api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const response = await hubFetch(hub, listing, purpose, { signal: options.signal });
  const { commit, files } = parseListing(await response.text(), purpose);
  const folder = path.join(store, "snapshots", commit, inside);
  const has = (name: string): boolean => files.has(path.posix.join(inside, name));

  const wanted = [...kind.required, ...kind.optional.filter(has)];
  const absent = kind.required.find((name) => !has(name));
  if (absent !== undefined)
    throw missing(repo, kind, path.posix.join(inside, absent), foldersWith(files, absent, kind));
  const get = async (names: string[]): Promise<void> => {
    const remote: RemoteFile[] = [];
    for (const name of names)
      remote.push(await describe(hub, repo, commit, files.get(path.posix.join(inside, name)) as ListedFile, options));
    checkSpace(store, remote);
    await fetchFiles(hub, repo, commit, store, remote, options);
  };
  await get(wanted);
  if (has(kind.single)) await get([kind.single]);
  else if (kind.index !== null && has(kind.index)) {
    await get([kind.index]);
    const shards = shardsOf(fs.readFileSync(path.join(folder, kind.index), "utf8"));
    if (shards === null) throw responseError(purpose, `a weight_map in ${kind.index}`, "none");
    const lost = shards.find((shard) => !has(shard));
    if (lost !== undefined) throw missing(repo, kind, path.posix.join(inside, lost));
    await get(shards);
  } else throw missing(repo, kind, path.posix.join(inside, kind.single));
  for (const name of kind.optional)
    if (!has(name)) writeFileAtomic(path.join(store, NO_EXIST, commit, inside, name), "");
  if (revision !== commit) writeFileAtomic(path.join(store, "refs", ...revision.split("/")), commit);
  return folder;
}

/** Folders of a repository that hold `file`, where the kind may lie in one. */
function foldersWith(files: Map<string, ListedFile>, file: string, kind: RepoKind): string[] {
  if (!kind.nested) return [];
  return [...files.keys()].filter((name) => name.endsWith(`/${file}`)).map((name) => name.slice(0, -file.length - 1));
}

function missing(repo: string, kind: RepoKind, file: string, folders: string[] = []): DataError {
  const some = folders.slice(0, 8).map((folder) => `${repo}/${folder}`);
  const remedy =
    some.length > 0
      ? `Name one of its folders: ${some.join(", ")}.`
      : `It is not a ${kind.noun} that can be read here.`;
  return new DataError("hub-files", `Expected ${file} in ${repo} but the repository has none. ${remedy}`);
}

interface ListedFile {
  name: string;
  size: number | null;
  etag: string | null;
}

/** The hub's answer: a commit and its files. Names that are not plain relative paths are left out, so nothing can write elsewhere. */
function parseListing(text: string, purpose: RequestPurpose): { commit: string; files: Map<string, ListedFile> } {
  let answer: { sha?: unknown; siblings?: unknown };
  try {
    answer = JSON.parse(text) as typeof answer;
  } catch {
    throw responseError(purpose, "JSON", "something else");
  }
  if (typeof answer?.sha !== "string" || !/^[0-9a-f]{7,64}$/.test(answer.sha) || !Array.isArray(answer.siblings)) {
    throw responseError(purpose, "a commit and a list of files", "neither");
  }
  const files = new Map<string, ListedFile>();
  for (const item of answer.siblings as {
    rfilename?: unknown;
    size?: unknown;
    blobId?: unknown;
    lfs?: { sha256?: unknown; size?: unknown } | null;
  }[]) {
    if (typeof item?.rfilename !== "string" || !item.rfilename.split("/").every((part) => FILE_NAME.test(part)))
      continue;
    const size = item.lfs?.size ?? item.size;
    const etag = item.lfs?.sha256 ?? item.blobId;
    files.set(item.rfilename, {
      name: item.rfilename,
      size: Number.isSafeInteger(size) ? (size as number) : null,
      etag: typeof etag === "string" && /^[0-9a-f]{40,64}$/.test(etag) ? etag : null,
    });
  }
  return { commit: answer.sha, files };
}

const filePath = (repo: string, commit: string, name: string): string =>
  `/${repo}/resolve/${commit}/${name.split("/").map(encodeURIComponent).join("/")}`;

/** Size and tag of a file; a mirror whose listing lacks them is asked for the file's headers. */
async function describe(
  hub: HubEnvironment,
  repo: string,
  commit: string,
  file: ListedFile,
  options: ResolveOptions,
): Promise<RemoteFile> {
  if (file.size !== null && file.etag !== null) return { name: file.name, size: file.size, etag: file.etag };
  const purpose: RequestPurpose = { repo, what: file.name };
  const { headers } = await hubFetch(hub, filePath(repo, commit, file.name), purpose, {
    method: "HEAD",
    followAway: false,
    signal: options.signal,
  });
  const etag = (headers.get("x-linked-etag") ?? headers.get("etag") ?? "").replace(/^W\//, "").replace(/"/g, "");
  const size = Number(headers.get("x-linked-size") ?? headers.get("content-length") ?? Number.NaN);
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(etag) || !Number.isSafeInteger(size))
    throw responseError(purpose, "an etag and a size", "neither");
  return { name: file.name, size, etag };
}

/** Refuses before the first byte if the disk cannot hold what is still to come. */
function checkSpace(store: string, files: readonly RemoteFile[]): void {
  makeFolder(store, "HF_HUB_CACHE");
  const have = (file: RemoteFile): boolean => fs.existsSync(path.join(store, "blobs", file.etag));
  const needed = files.filter((file) => !have(file)).reduce((sum, file) => sum + file.size, 0);
  const { bavail, bsize } = fs.statfsSync(store);
  const free = bavail * bsize;
  if (needed > free) {
    const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
    throw new DeviceError(
      "disk-space",
      `Expected ${gigabytes(needed)} of free disk in ${store} but there are ${gigabytes(free)}. Set HF_HUB_CACHE to a larger disk.`,
    );
  }
}

async function fetchFiles(
  hub: HubEnvironment,
  repo: string,
  commit: string,
  store: string,
  files: readonly RemoteFile[],
  options: ResolveOptions,
): Promise<void> {
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let before = 0;
  for (const file of files) {
    const blob = await fetchBlob(hub, filePath(repo, commit, file.name), repo, path.join(store, "blobs"), file, {
      onBytes: (bytes) => options.onProgress?.(before + bytes, total, file.name),
      signal: options.signal,
      retryDelayMs: options.retryDelayMs ?? 500,
    });
    before += file.size;
    options.onProgress?.(before, total, file.name);
    linkBlob(blob, path.join(store, "snapshots", commit, file.name));
  }
}

/** snapshots/<commit>/<file> -> ../../blobs/<etag>; a copy where links are not allowed. */
function linkBlob(blob: string, link: string): void {
  if (fs.existsSync(link)) return;
  fs.mkdirSync(path.dirname(link), { recursive: true });
  fs.rmSync(link, { force: true }); // a dangling link of an earlier cache
  try {
    fs.symlinkSync(path.relative(path.dirname(link), blob), link);
  } catch {
    fs.copyFileSync(blob, link);
  }
}
