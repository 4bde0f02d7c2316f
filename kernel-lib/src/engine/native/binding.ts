/**
 * The addon, loaded once, and the translation of its errors into the house's classes.
 *
 * A native error carries a `code`; which class it becomes is decided by that code alone. The new error is made here, at the
 * caller's side of the seam, so that its stack shows the call.
 */
import { type NativeBinding, loadNative } from "@steerlab/native";
import { AbortedError, DataError, DeviceError, InputError, SteerlabError } from "../../base";

const DEVICE_CODES = new Set(["native-missing", "cuda-missing", "out-of-memory", "cuda-error", "internal"]);
const DATA_CODES = new Set(["missing-tensor", "tensor-shape", "tensor-range", "tensor-values", "unreadable-file"]);

/** @throws DeviceError "native-missing" */
export function loadBinding(): NativeBinding {
  return translated(() => loadNative());
}

/** A caller's own exception (no native code) passes unchanged. */
export function translateError(error: unknown): unknown {
  if (error instanceof SteerlabError || !(error instanceof Error)) return error;
  const code = (error as { code?: unknown }).code;
  if (typeof code !== "string") return error;
  if (code === "aborted") return new AbortedError();
  const options = { cause: error };
  if (DEVICE_CODES.has(code) || code.startsWith("cuda")) return new DeviceError(code, error.message, options);
  if (DATA_CODES.has(code)) return new DataError(code, error.message, options);
  return new InputError(code, error.message, options);
}

/** Runs a synchronous native call; its errors come out translated. */
export function translated<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw translateError(error);
  }
}
