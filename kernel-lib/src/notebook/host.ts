/**
 * The running notebook kernel, as far as showing things goes; null in plain Node.
 *
 * Our preload puts a host object at `globalThis[Symbol.for("steerlab.kernel")]`. Under a tslab without the preload the
 * kernel's own `lastWriteDisplayData` is used, found among the loaded modules. The interface is all that display.ts
 * and progress.ts know about kernels.
 */

/** MIME type to content: text for most, base64 for images, an object for JSON types. */
export type MimeBundle = Record<string, unknown>;

/** Options of one display message. */
export interface HostDisplayOptions {
  /** Names the output area so that it can be updated. */
  id?: string;
  /** true: replace the area named `id` instead of adding one. */
  update?: boolean;
}

/** What stands at `globalThis[Symbol.for("steerlab.kernel")]`. */
export interface KernelHost {
  /** Sends display data to the running cell. */
  display(bundle: MimeBundle, options?: HostDisplayOptions): void;
  /** Asked in turn for the value of a cell's last expression; the first bundle wins. */
  formatters: Array<(value: unknown) => MimeBundle | null | Promise<MimeBundle | null>>;
}

const KEY = Symbol.for("steerlab.kernel");

/** The host of the kernel that runs this code, or null. */
export function kernelHost(): KernelHost | null {
  const holder = globalThis as { [KEY]?: KernelHost };
  return holder[KEY] ?? stockTslabHost();
}

let displayCount = 0;

/** A display id that is unique in this process; a counter, because nothing here needs to be random. */
export function nextDisplayId(): string {
  displayCount += 1;
  return `steerlab-${process.pid}-${displayCount}`;
}

interface TslabJupyterModule {
  lastWriteDisplayData: ((content: object, update: boolean) => void) | null;
}

function stockTslabHost(): KernelHost | null {
  if (!("__tslab__" in globalThis) || typeof require !== "function") return null;
  const path = Object.keys(require.cache ?? {}).find((key) => /[\\/]tslab[\\/]dist[\\/]jupyter\.js$/.test(key));
  const jupyter = path === undefined ? undefined : (require.cache[path]?.exports as TslabJupyterModule | undefined);
  if (jupyter === undefined) return null;
  return {
    formatters: [],
    display(bundle, options = {}) {
      const transient = options.id === undefined ? {} : { display_id: options.id };
      jupyter.lastWriteDisplayData?.({ data: bundle, metadata: {}, transient }, options.update === true);
    },
  };
}
