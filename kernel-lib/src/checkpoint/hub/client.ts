/**
 * Requests to a hub: the token goes to the hub itself and nowhere else, redirects are followed by hand, failures are named.
 *
 * A large file answers with a redirect to storage on another host, whose address carries its own short-lived signature;
 * neither it nor the token may end up in an error message.
 */
import { AbortedError, DataError, scrubSecrets, type SteerlabError } from "../../base";
import type { HubEnvironment } from "./environment";

const MAX_REDIRECTS = 5;
/** Characters of a refusal that are quoted. */
const MAX_REASON = 300;

/** Which repository and file a request is for, in words, for error sentences. */
export interface RequestPurpose {
  repo: string;
  what: string;
}

/** A failure worth trying again: the network, or a server that is busy. */
export class TransientHubError extends DataError {}

export interface HubRequest {
  method?: "GET" | "HEAD" | "POST";
  /** of a POST */
  body?: string;
  headers?: Record<string, string>;
  /** follow redirects to other hosts (storage); HEAD requests that want the hub's own headers do not */
  followAway?: boolean;
  /** statuses that are no failure here, such as 409 for what is there already */
  accepted?: readonly number[];
  signal?: AbortSignal;
}

/**
 * One request below the endpoint.
 *
 * @param pathname begins with "/"; each segment already encoded
 * @throws DataError "hub-access" (401, 403), "hub-not-found" (404), "hub-response"; TransientHubError "hub-network";
 *   AbortedError
 */
export async function hubFetch(
  hub: HubEnvironment,
  pathname: string,
  purpose: RequestPurpose,
  request: HubRequest = {},
): Promise<Response> {
  const home = new URL(hub.endpoint);
  let address = new URL(hub.endpoint + pathname);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const headers: Record<string, string> = {
      "user-agent": "steerlab",
      "accept-encoding": "identity",
      ...request.headers,
    };
    if (address.origin === home.origin && hub.token !== null) headers.authorization = `Bearer ${hub.token}`;
    let response: Response;
    try {
      response = await fetch(withoutLogin(address), {
        method: request.method ?? "GET",
        headers,
        body: request.body,
        redirect: "manual",
        signal: request.signal,
      });
    } catch (cause) {
      if (request.signal?.aborted === true) throw new AbortedError();
      const why = scrubSecrets(
        String((cause as { cause?: { code?: string } }).cause?.code ?? (cause as Error).message),
        [hub.token],
      );
      throw new TransientHubError(
        "hub-network",
        `Expected an answer from ${home.host} for ${purpose.what} of ${purpose.repo} but the connection failed (${why}). Check the network, or set HF_HUB_OFFLINE=1 to use the cache.`,
      );
    }
    const location = response.headers.get("location");
    if (response.status < 300 || response.status > 399 || location === null)
      return checked(response, hub, purpose, request);
    const target = new URL(location, address);
    if (target.origin !== home.origin && request.followAway === false) return response;
    if (request.body !== undefined && (target.origin !== home.origin || ![307, 308].includes(response.status)))
      throw responseError(purpose, "an answer from the hub itself", "a redirect");
    if (address.protocol === "https:" && target.protocol !== "https:")
      throw responseError(purpose, "a secure redirect", "one to plain http");
    await response.body?.cancel();
    address = target;
  }
  throw responseError(purpose, `at most ${MAX_REDIRECTS} redirects`, "more");
}

/** `fetch` refuses addresses with a login inside; a mirror's login is its own affair and is dropped. */
function withoutLogin(address: URL): string {
  const copy = new URL(address);
  copy.username = "";
  copy.password = "";
  return copy.href;
}

async function checked(
  response: Response,
  hub: HubEnvironment,
  purpose: RequestPurpose,
  request: HubRequest,
): Promise<Response> {
  if (response.ok || (response.status >= 300 && response.status < 400)) return response;
  if (request.accepted?.includes(response.status) === true) return response;
  const why = request.body === undefined ? "" : await reasonIn(response, hub);
  await response.body?.cancel().catch(() => undefined); // a body that was read is closed already
  const { repo, what } = purpose;
  const status = response.status;
  if (status === 401 || status === 403) {
    const remedy =
      request.body !== undefined
        ? "Use a token that may write to this repository (HF_TOKEN)."
        : hub.token === null
          ? "Set HF_TOKEN if the repository is private or gated."
          : "The token in use has no access; accept the licence on the hub or use another token.";
    throw new DataError(
      "hub-access",
      `Expected access to ${what} of ${repo} but the hub refused (${status}). ${remedy}`,
    );
  }
  if (status === 404)
    throw new DataError(
      "hub-not-found",
      `Expected ${what} of ${repo} on the hub but it is not there (404). Check the name and revision.`,
    );
  if (status === 429 || status >= 500) {
    throw new TransientHubError(
      "hub-network",
      `Expected ${what} of ${repo} but the hub answered ${status}. Try again later.`,
    );
  }
  throw responseError(purpose, "an answer of 200", `${status}${why}`);
}

/** What the hub says of a request that it refuses, such as a card that it can't read; without the token. */
async function reasonIn(response: Response, hub: HubEnvironment): Promise<string> {
  const text = (await response.text().catch(() => "")).replace(/\s+/g, " ").slice(0, MAX_REASON);
  return text === "" ? "" : ` (${scrubSecrets(text, [hub.token])})`;
}

/** "hub-response": the server spoke, but not as a hub does. */
export function responseError(purpose: RequestPurpose, what: string, received: string): SteerlabError {
  return new DataError(
    "hub-response",
    `Expected ${what} for ${purpose.what} of ${purpose.repo} but received ${received}.`,
  );
}
