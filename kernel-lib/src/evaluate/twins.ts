/**
 * A study beside its twins: each trained by every seed, measured on the same caches, side-effect questions and chats.
 *
 * One base model, loaded once, serves all arms; what it is asked itself is asked once, unless an arm's labels or layers differ. Every arm
 * is a training run and a run each of detection, side effects and chats, all found again by their identity, so the same call goes on where it was stopped. Arms are step-matched, and that is checked before the first step.
 */
import { isDeepStrictEqual } from "node:util";
import { AbortedError, expected, InputError } from "../base";
import { readAdapter } from "../checkpoint";
import type { Adapter, StudyModel } from "../engine";
import {
  bindStudy,
  type BoundStudy,
  defaultTwins,
  headlineTiers,
  namedTwin,
  type Protocol,
  protocolOf,
  type TrialRecord,
} from "../study";
import { trainDetector } from "../train";
import { evaluateChats } from "./chats";
import { evaluateDetection } from "./detection";
import { evaluateSideEffects } from "./side-effects";
import type { SideEffectRecord } from "./side-effects/record";
import { estimateTwins, plannedSteps, type TwinArm, type TwinEstimate } from "./twins/estimate";
import { STUDY, twinRow, type TwinRow } from "./twins/row";

/** Options of `runTwins`. */
export interface TwinsOptions {
  /** names that `namedTwin` knows; the study itself always runs first. Default `defaultTwins` */
  twins?: readonly string[];
  /** training seeds; default 1, 2, 3 */
  seeds?: readonly number[];
  /** folder that holds runs; default "runs" */
  root?: string;
  signal?: AbortSignal;
  /** what it will take, before the first arm starts */
  onEstimate?: (estimate: TwinEstimate) => void;
  /** work so far in thousandths of an arm, by estimated time; the note names the arm */
  onProgress?: (done: number, total: number, note: string) => void;
}

const SEEDS: readonly number[] = [1, 2, 3];
/** Units of progress in one arm. */
const PER_ARM = 1000;

/**
 * Trains and measures a study and its twins, seed by seed, so that a stopped run holds whole comparisons.
 *
 * @param protocol resolved protocol, or the name of a shipped one
 * @returns one row per twin and seed, the study's (twin "study") first of each seed
 * @throws InputError "protocol-unknown" for an unknown twin, "label-tokens" for labels of several tokens, "twin-steps" if an arm would take
 *   other steps, "tier-unknown"; AbortedError when `signal` fires: what is finished stays, the message says how to go on
 * @example
 * const rows = await runTwins(model, "strict", { twins: ["no-retention", "flipped"], seeds: [1] });
 */
export async function runTwins(
  model: StudyModel,
  protocol: Protocol | string,
  options: TwinsOptions = {},
): Promise<TwinRow[]> {
  const { root = "runs", signal } = options;
  const arms = await armsOf(
    model,
    typeof protocol === "string" ? protocolOf(protocol, {}, model.engine.config) : protocol,
    options,
  );
  const rows: TwinRow[] = [];
  try {
    const estimate = await estimateTwins(model, arms, { root, signal });
    options.onEstimate?.(estimate);
    const shared: SharedBase = { trials: new Map(), effects: new Map() };
    const start = performance.now();
    for (const [i, arm] of arms.entries()) {
      const note = `${arm.twin}, seed ${arm.seed}`;
      const tick = (steps: number, trials: number): void => {
        const share = estimate.shareOfArm(steps, trials);
        options.onProgress?.(Math.round(PER_ARM * (i + share)), PER_ARM * arms.length, note);
      };
      rows.push(await runArm(model, arm, shared, { root, signal, tick }));
      tick(estimate.perArm.steps, estimate.perArm.trials);
    }
    estimate.tookSeconds = (performance.now() - start) / 1000;
  } catch (error) {
    if (!(error instanceof AbortedError)) throw error;
    throw new AbortedError(
      `Stopped after ${rows.length} of ${arms.length} arms; everything finished is kept in ${root}, and training goes on from its last step. Run the same again to go on.`,
    );
  }
  return rows;
}

/** Every arm bound to the model, which proves labels and ranges before anything is trained. */
async function armsOf(
  model: StudyModel,
  protocol: Protocol,
  { twins = defaultTwins(protocol), seeds = SEEDS }: TwinsOptions,
): Promise<TwinArm[]> {
  requireOnce("twins", twins);
  requireOnce("seeds", seeds);
  if (seeds.length === 0) throw new InputError("twin-name", expected("at least one seed", "seeds", "none"));
  const layers = model.engine.config.num_hidden_layers;
  const studies: { twin: string; study: BoundStudy }[] = [{ twin: STUDY, study: await bindStudy(model, protocol) }];
  for (const twin of twins) studies.push({ twin, study: await bindStudy(model, namedTwin(protocol, twin, layers)) });
  requireSameSteps(studies);
  requireOthers(studies);
  return seeds.flatMap((seed) => studies.map(({ twin, study }): TwinArm => ({ twin, seed, study })));
}

function requireOnce(name: string, values: readonly (string | number)[]): void {
  const twice = values.find((value, i) => values.indexOf(value) !== i);
  if (twice !== undefined) throw new InputError("twin-name", expected("each once", name, `${twice} twice`));
}

/** A twin that changes nothing would be the study under another name. */
function requireOthers([{ study }, ...twins]: readonly { twin: string; study: BoundStudy }[]): void {
  const made = ({ protocol }: BoundStudy): unknown => ({ ...protocol, name: "", twinOf: null });
  const same = twins.find((other) => isDeepStrictEqual(made(other.study), made(study)));
  if (same !== undefined)
    throw new InputError(
      "twin-name",
      expected(`a twin that changes something of ${study.protocol.name}`, "twins", same.twin, "Leave it out."),
    );
}

/** A twin that trained longer or shorter would be no control. */
function requireSameSteps(studies: readonly { twin: string; study: BoundStudy }[]): void {
  const early = studies.find(({ study }) => study.protocol.training.earlyStop !== null);
  if (early !== undefined)
    throw new InputError(
      "twin-steps",
      expected("training.earlyStop null, so that all take the same steps,", `twin ${early.twin}`, "a rule"),
    );
  const steps = studies.map(({ study }) => plannedSteps(study.protocol));
  const other = steps.findIndex((count) => count !== steps[0]);
  if (other !== -1)
    throw new InputError(
      "twin-steps",
      expected(`${steps[0]} steps as in the study`, `twin ${studies[other].twin}`, steps[other]),
    );
}

/** Base records by id: what an arm asked of the base is not asked again for one that would ask the same. */
interface SharedBase {
  trials: Map<string, TrialRecord>;
  effects: Map<string, SideEffectRecord>;
}

async function runArm(
  model: StudyModel,
  { twin, seed, study }: TwinArm,
  shared: SharedBase,
  { root, signal, tick }: { root: string; signal?: AbortSignal; tick: (steps: number, trials: number) => void },
): Promise<TwinRow> {
  const training = await trainDetector(model, study, { seed, root, signal, onEvent: ({ step }) => tick(step, 0) });
  const adapter = await bound(model, training.adapterFolder, `${twin}-s${seed}`);
  try {
    const tiers = Object.values(headlineTiers(study.protocol)).filter((name): name is string => name !== null);
    const onProgress = (done: number): void => tick(training.steps, done);
    const place = { adapter, root, signal };
    const detection = await evaluateDetection(model, study, { ...place, tiers, reuse: shared.trials, onProgress });
    keepBase(shared.trials, detection.records);
    const effects = await evaluateSideEffects(model, study, { ...place, reuse: shared.effects });
    keepBase(shared.effects, effects.records);
    const chats = await evaluateChats(model, study, place);
    return twinRow({
      twin,
      seed,
      steps: training.steps,
      validationAccuracy: training.validation?.accuracy ?? null,
      protocol: study.protocol,
      metrics: [...detection.metrics, ...effects.metrics, ...chats.metrics],
      folders: [training.folder, detection.folder, effects.folder, chats.folder],
    });
  } finally {
    adapter.dispose();
  }
}

function keepBase<R extends { id: string; adapterHash: string | null }>(
  shared: Map<string, R>,
  records: readonly R[],
): void {
  for (const record of records) if (record.adapterHash === null) shared.set(record.id, record);
}

async function bound(model: StudyModel, folder: string, name: string): Promise<Adapter> {
  const { config } = model.engine;
  const { parts, hash } = await readAdapter(folder, { config, name: null }, { otherBase: "accept" });
  return model.engine.bindAdapter(parts, { name, hash });
}
