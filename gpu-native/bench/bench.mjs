/**
 * npm run bench [-- --peers] [--shapes lab,0.5B] [--dtypes bf16,f32] [--repeats N] [--threads N] [--isa NAME] [--no-kernels]
 *
 * Three tables: the GEMM kernels against the machine's measured peak; training examples/s and trials/s through the compiled engine;
 * with --peers the same work by torch + transformers + PEFT (peers.py; python from STEERLAB_PEER_PYTHON or python3), alternating
 * with ours repetition by repetition, as a ratio of medians. Spread is the distance between the quartiles over the median.
 */
import { printOnnxTable } from "./onnx.mjs";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openPeer } from "./peers.mjs";
import { median, printTable, spread } from "./table.mjs";
import { openWork, ROWS } from "./workload.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values: options } = parseArgs({
  options: {
    peers: { type: "boolean", default: false },
    shapes: { type: "string", default: "lab,0.5B" },
    dtypes: { type: "string", default: "bf16,f32" },
    repeats: { type: "string", default: "5" },
    threads: { type: "string", default: "0" },
    isa: { type: "string", default: "" },
    "no-kernels": { type: "boolean", default: false },
  },
});
const threads = Number(options.threads) || availableParallelism();
const repeats = Number(options.repeats);
const dtypes = options.dtypes.split(",");
const TURN = 0.3;

function buildTool() {
  const folder = join(root, "build", "addon");
  if (!existsSync(join(folder, "CMakeCache.txt"))) return null;
  const built = spawnSync("cmake", ["--build", folder, "--target", "steerlab_bench", "--parallel", String(threads)], {
    encoding: "utf8",
  });
  if (built.status !== 0) throw new Error(`steerlab_bench could not be built:\n${built.stdout}${built.stderr}`);
  return join(folder, "steerlab_bench");
}

/** Lines of steerlab_bench for one number format. */
function measureKernels(tool, dtype, isa, workers) {
  const run = spawnSync(tool, [dtype, isa, String(workers), "0.5"], { encoding: "utf8" });
  if (run.status !== 0) throw new Error(run.stderr.trim());
  return run.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

function kernelTable(isa) {
  const tool = buildTool();
  if (!tool) return console.log("GEMM kernels: skipped, build/addon is not there. Run: npm run build");
  const rows = [];
  for (const workers of threads > 1 ? [1, threads] : [1])
    for (const dtype of dtypes) {
      const lines = measureKernels(tool, dtype, isa, workers);
      const peak = lines.find((l) => l.kind === "peak").gflops;
      const memory = lines.find((l) => l.kind === "memory").gbytes;
      const pieces =
        dtype === "f32" && isa === "amx" ? " (of f32 multiply-adds; bf16 weights take the matrix registers)" : "";
      console.log(
        `${dtype}, ${workers} thread(s), ${isa}: peak ${peak} GFLOP/s measured${pieces}, memory read ${memory} GB/s`,
      );
      for (const l of lines.filter((each) => each.kind === "gemm"))
        rows.push([
          dtype,
          workers,
          l.what,
          `${l.m} x ${l.k} x ${l.n}`,
          l.gflops.toFixed(0),
          `${((100 * l.gflops) / peak).toFixed(0)} %`,
          `${(100 * l.spread).toFixed(0)} %`,
        ]);
    }
  printTable(["dtype", "threads", "product", "rows x in x out", "GFLOP/s", "of peak", "spread"], rows);
}

/** Seconds of wall and processor time of one call. */
/**
 * One turn of several batches, at least TURN seconds of them; the first is not counted where there are others: it finds caches and clock as the
 * pause left them. The pause before: OpenMP's threads spin for 200 ms after their work and would take the processors from whoever comes next.
 */
async function turn(batch, secondsOf, isAfterPeer) {
  if (isAfterPeer) await setTimeout(300);
  const all = [];
  for (let spent = 0; spent < TURN; spent += secondsOf(all.at(-1))) all.push(await batch());
  return all.length > 1 ? all.slice(1) : all;
}

async function timed(work) {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  await work();
  const wall = Number(process.hrtime.bigint() - start) / 1e9;
  const used = process.cpuUsage(cpu);
  return { wall, cpu: (used.user + used.system) / 1e6 };
}

/** Both kinds of work of one model in one number format, ours and the peers' in turn; prints its table when it is done. */
async function measureShape(shape, dtype) {
  const rows = [];
  const peers = [];
  if (options.peers)
    for (const kind of ["loop", "batched"]) {
      const peer = await openPeer(kind, shape, dtype, threads);
      if (peer.missing) console.log(`peer ${kind} ${shape} ${dtype}: skipped, ${peer.missing}`);
      else peers.push(peer);
    }
  const ours = await openWork(shape, dtype, threads, options.isa);
  for (const what of ["train", "trial"]) {
    const mine = [];
    const theirs = peers.map(() => []);
    await ours[what]();
    for (const peer of peers) await peer.run(what);
    for (let i = 0; i < repeats; ++i) {
      mine.push(
        ...(await turn(
          () => timed(ours[what]),
          (each) => each.wall,
          peers.length > 0,
        )),
      );
      for (const [p, peer] of peers.entries())
        theirs[p].push(
          ...(await turn(
            () => peer.run(what),
            (each) => each,
            true,
          )),
        );
    }
    const wall = mine.map((m) => m.wall);
    const cpu = median(mine.map((m) => m.cpu));
    const unit = what === "train" ? "training examples/s" : "trials/s";
    rows.push([
      shape,
      dtype,
      "steerlab",
      unit,
      (ROWS / median(wall)).toFixed(2),
      `${(100 * spread(wall)).toFixed(0)} %`,
      ((ROWS * threads) / cpu).toFixed(2),
      "",
    ]);
    for (const [p, peer] of peers.entries())
      rows.push([
        shape,
        dtype,
        peer.name,
        unit,
        (ROWS / median(theirs[p])).toFixed(2),
        `${(100 * spread(theirs[p])).toFixed(0)} %`,
        "",
        (median(theirs[p]) / median(wall)).toFixed(2),
      ]);
  }
  console.log(`${shape} ${dtype}: ${ours.description}`);
  printTable(
    [
      "shape",
      "dtype",
      "who",
      "what",
      "median",
      "spread",
      `per ${threads} processor-seconds`,
      "steerlab is x times as fast",
    ],
    rows,
  );
  ours.close();
  for (const peer of peers) peer.close();
}

const { loadNative } = (await import("../index.cjs")).default;
const isa = options.isa || loadNative().info().isas[0];
if (!options["no-kernels"] && isa !== "plain") kernelTable(isa);
for (const shape of options.shapes.split(",").filter(Boolean))
  for (const dtype of dtypes) await measureShape(shape, dtype);
if (options.peers) await printOnnxTable({ shapes: options.shapes.split(",").filter(Boolean), threads, repeats });
