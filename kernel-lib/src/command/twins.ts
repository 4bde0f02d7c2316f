/**
 * `steerlab twins`: a study and its control twins by several seeds, over one loaded model; rows as JSON and a page with the figure.
 *
 * Everything is checked and the estimate printed before the first arm; nothing is ever asked. Ctrl-C keeps what is finished.
 */
import * as path from "node:path";
import { inspect } from "node:util";
import { expected, InputError, LAB_MODEL } from "../base";
import { type Model, openModel, readModelConfig } from "../engine";
import { evaluateProbe, runTwins, type TwinEstimate, type TwinRow } from "../evaluate";
import { makeFolder, writeFileAtomic, writeJsonAtomic } from "../files";
import { showProgress, startProgress } from "../notebook";
import { tableText } from "../page";
import { twinsPage, twinsReading, twinsTable, yardsticksTable } from "../report";
import { type Metric, shortName } from "../runs";
import { namedTwin, type Protocol, protocolOf } from "../study";
import { engineOptions } from "./engine-flags";
import { parseArguments } from "./flags";
import { CHANGES, parametersOf } from "./parameters";
import { TWINS } from "./tables";

/** Runs the command. @throws InputError before anything is trained; AbortedError saying how to go on */
export async function twins(args: readonly string[], signal?: AbortSignal): Promise<void> {
  const { flags } = parseArguments("twins", TWINS, args);
  const names = flags.twins === undefined ? undefined : listOf(flags.twins, "--twins");
  const seeds = flags.seeds === undefined ? undefined : listOf(flags.seeds, "--seeds").map(seedOf);
  const changes = changesOf(flags.parameter);
  const out = flags.out ?? path.join("runs", "twins");
  const { config } = await readModelConfig(flags.model ?? LAB_MODEL);
  const protocol = protocolOf(flags.protocol ?? "strict", changes ?? {}, config);
  for (const name of names ?? []) namedTwin(protocol, name, config.num_hidden_layers);
  makeFolder(out, "--out");
  const model = await openModel(flags.model, { ...engineOptions(flags), dtype: flags.dtype ?? "auto", signal });
  try {
    const progress = { line: null as ReturnType<typeof startProgress> | null, estimate: null as TwinEstimate | null };
    const rows = await runTwins(model, protocol, {
      twins: names,
      seeds,
      root: out,
      signal,
      onEstimate: (estimate) => {
        progress.estimate = estimate;
        process.stderr.write(`steerlab: ${inspect(estimate)}\n`);
      },
      onProgress: (done, total, note) => {
        progress.line ??= startProgress("twins", total, { from: done });
        progress.line.update(done, note);
      },
    });
    progress.line?.done();
    process.stderr.write(`steerlab: ${inspect(progress.estimate)}\n`);
    writeJsonAtomic(path.join(out, "twins.json"), rows);
    const yardsticks = await yardsticksOf(model, protocol, rows[0], out, signal);
    const { backend, dtype } = model.engine;
    const title = `Twins of ${protocol.name} on ${shortName(model.name)}, computed in ${dtype} on ${backend}`;
    writeFileAtomic(path.join(out, "twins.html"), twinsPage(rows, { title, yardsticks }));
    const page = path.join(out, "twins.html");
    process.stdout.write(`${tableText(twinsTable(rows), { limit: rows.length })}\n${twinsReading(rows)}\n`);
    process.stdout.write(
      `AUROC of the study, seed ${rows[0].seed}:\n${tableText(yardsticksTable(yardsticks))}\n${page}\n`,
    );
  } finally {
    model.dispose();
  }
}

/** Norm and linear probe on the caches that the study's first adapter was asked on. */
async function yardsticksOf(
  model: Model,
  protocol: Protocol,
  { folders: [training], seed }: TwinRow,
  root: string,
  signal?: AbortSignal,
): Promise<readonly Metric[]> {
  const adapter = await model.attach(path.join(training, "adapter"));
  const onProgress = showProgress(`yardsticks, seed ${seed}`);
  const { metrics } = await evaluateProbe(model, protocol, { adapter, root, signal, onProgress });
  return metrics;
}

function listOf(text: string, flag: string): string[] {
  const items = text.split(",").map((item) => item.trim());
  if (items.includes("")) throw new InputError("bad-flag", expected("values with commas between them", flag, text));
  return items;
}

function seedOf(text: string): number {
  const seed = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(seed))
    throw new InputError("bad-flag", expected("whole numbers >= 0", "--seeds", text));
  return seed;
}

/** Changes of protocol fields; nothing else can be set here. */
function changesOf(pairs: readonly [string, string][]): Record<string, unknown> | null {
  const { [CHANGES]: changes, ...others } = parametersOf(pairs);
  const [other] = Object.keys(others);
  if (other !== undefined)
    throw new InputError("parameter", expected("protocol. and a field of the protocol", "-p", other));
  return changes === undefined ? null : (changes as Record<string, unknown>);
}
