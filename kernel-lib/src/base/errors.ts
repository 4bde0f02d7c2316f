/**
 * The three kinds of failure a caller can act on.
 *
 * Every message is one sentence group "fact, value, remedy"; every error carries a stable kebab-case `code`
 * that scripts may switch on. InputError: the caller passed something wrong. DataError: a file is damaged or
 * does not fit. DeviceError: the machine cannot do it (no addon, no memory, no GPU).
 */

/**
 * Base of all errors thrown on purpose by steerlab; `code` is stable across versions.
 *
 * @example
 * try {
 *   loadProtocol("mine");
 * } catch (error) {
 *   if (error instanceof SteerlabError) console.log(error.code); // protocol-unknown
 * }
 */
export abstract class SteerlabError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message);
    this.code = code;
    this.name = new.target.name;
    if (options?.cause !== undefined) (this as { cause?: unknown }).cause = options.cause;
  }
}

/**
 * An argument, option or file chosen by the caller is not acceptable.
 *
 * @example
 * const refused = (error: unknown) => error instanceof InputError && error.code === "layer-range";
 */
export class InputError extends SteerlabError {}

/**
 * A file or record is damaged, incomplete or inconsistent.
 *
 * @example
 * const untrained = (error: unknown) => error instanceof DataError && error.code === "no-adapter";
 */
export class DataError extends SteerlabError {}

/**
 * The machine cannot do what was asked: addon, memory, disk or device is missing.
 *
 * @example
 * const tooLarge = (error: unknown) => error instanceof DeviceError && error.code === "out-of-memory";
 */
export class DeviceError extends SteerlabError {}

/**
 * Work stopped because the caller's AbortSignal fired; nothing is lost that was already recorded. Its code is "aborted".
 *
 * @example
 * const stopped = (error: unknown) => error instanceof AbortedError;
 */
export class AbortedError extends SteerlabError {
  constructor(message = "Stopped on request.") {
    super("aborted", message);
  }
}

/**
 * The one error sentence of the house: what was expected, for which name, what came, and the remedy.
 *
 * @example
 * throw new InputError("layer-range", expected("layerEnd <= 12", "plan", 36, "The model has 12 layers (0..11)."));
 */
export function expected(what: string, name: string, received: unknown, remedy = ""): string {
  const shown = typeof received === "string" ? JSON.stringify(received) : String(received);
  return `Expected ${what} for ${name} but received ${shown}.${remedy === "" ? "" : ` ${remedy}`}`;
}
