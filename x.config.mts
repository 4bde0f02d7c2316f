import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// Suites spawn kernels, Python and native threads of their own: two workers fill a two-core machine.
export default defineConfig({
  resolve: {
    alias: { steerlab: fileURLToPath(new URL("./kernel-lib/src/index.ts", import.meta.url)) },
  },
  test: {
    include: ["x.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
