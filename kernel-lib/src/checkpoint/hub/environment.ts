/**
 * Where the hub's cache is and how to reach the hub, by the same environment variables as the Python library.
 *
 * HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. HF_ENDPOINT, HF_TOKEN
 * (else the file HF_TOKEN_PATH or HF_HOME/token), HF_HUB_OFFLINE.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { expected, InputError } from "../../base";

export interface HubEnvironment {
  cache: string;
  /** address without a final slash */
  endpoint: string;
  /** never shown */
  token: string | null;
  offline: boolean;
}

/** Reads the settings from `env`. @throws InputError "hub-endpoint" if HF_ENDPOINT is not an http(s) address */
export function hubEnvironment(env: NodeJS.ProcessEnv = process.env): HubEnvironment {
  const home = set(env.HOME) ?? os.homedir();
  const hfHome = expand(
    set(env.HF_HOME) ?? path.join(set(env.XDG_CACHE_HOME) ?? path.join(home, ".cache"), "huggingface"),
    home,
  );
  const cache = expand(set(env.HF_HUB_CACHE) ?? set(env.HUGGINGFACE_HUB_CACHE) ?? path.join(hfHome, "hub"), home);
  const endpoint = (set(env.HF_ENDPOINT) ?? "https://huggingface.co").replace(/\/+$/, "");
  if (!isAddress(endpoint)) {
    throw new InputError("hub-endpoint", expected("an http(s) address", "HF_ENDPOINT", "something else"));
  }
  const token =
    set(env.HF_TOKEN) ??
    set(env.HUGGING_FACE_HUB_TOKEN) ??
    fileText(set(env.HF_TOKEN_PATH) ?? path.join(hfHome, "token"));
  return { cache, endpoint, token, offline: /^(1|true|yes|on)$/i.test(set(env.HF_HUB_OFFLINE) ?? "") };
}

function isAddress(text: string): boolean {
  try {
    return /^https?:$/.test(new URL(text).protocol);
  } catch {
    return false;
  }
}

/** A variable's trimmed value, or null if absent or blank. */
function set(value: string | undefined): string | null {
  const trimmed = (value ?? "").trim();
  return trimmed === "" ? null : trimmed;
}

function expand(folder: string, home: string): string {
  return path.resolve(folder === "~" || folder.startsWith("~/") ? path.join(home, folder.slice(1)) : folder);
}

function fileText(file: string): string | null {
  try {
    return set(fs.readFileSync(file, "utf8"));
  } catch {
    return null; // no token file: anonymous access
  }
}
