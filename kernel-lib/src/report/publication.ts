/**
 * A folder that is ready to upload: the PEFT files, the manifest, the protocol and the card, of one training run.
 *
 * Everything is copied or generated from records; the run itself stays as it is. The base model's hub name, if told, goes into
 * adapter_config.json too, so that PEFT finds the base by itself.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { expected, InputError } from "../base";
import { makeFolder, parseJsonStrict, readText, writeFileAtomic, writeJsonAtomic } from "../files";
import { openRunFolder, runsOfAdapter } from "../runs";
import { adapterCard, type CardNames } from "./card";

const CONFIG = "adapter_config.json";
const PROTOCOL = "protocol.yaml";
const COPIED = ["adapter_model.safetensors", "steerlab.json"];

/** A built folder. */
export interface Publication {
  folder: string;
  /** names of its files, sorted */
  files: string[];
  /** evaluations that the card quotes */
  evaluations: string[];
  /** what readers' programs will open as the base: a name of the hub, or one of this machine that means nothing there */
  baseModel: string;
}

/**
 * Builds the folder.
 *
 * @param training run folder of a finished training
 * @param options.evaluations run folders that measured the adapter; default: all finished ones beside the training run
 * @param options.out folder to write; default `publication` in the run folder
 * @throws InputError "card-runs" if the run trained no adapter or is unfinished, "out-folder"; DataError "card-placeholder"
 * @returns place, files and the evaluations that the card quotes
 * @example
 * const { folder } = buildPublication(run.folder, { repo: "org/detector", baseModel: "Qwen/Qwen2.5-0.5B-Instruct" });
 */
export function buildPublication(
  training: string,
  options: Omit<CardNames, "protocol"> & { evaluations?: readonly string[]; out?: string } = {},
): Publication {
  const run = openRunFolder(training);
  const adapter = run.file("adapter");
  const { kind, adapterHash } = run.readMeta();
  if (kind !== "train" || (adapterHash ?? null) === null)
    throw new InputError("card-runs", expected("the run of a finished training", "publish", training));
  if (!fs.existsSync(path.join(adapter, CONFIG))) {
    const remedy = "A packed run has none: publish the run that was packed.";
    throw new InputError("card-runs", expected("a run with its adapter's weights", "publish", training, remedy));
  }
  const beside = path.dirname(path.resolve(training));
  const evaluations = [...(options.evaluations ?? runsOfAdapter(beside, String(adapterHash)).evaluations)];
  const card = adapterCard(training, evaluations, { ...options, protocol: PROTOCOL });
  const folder = options.out ?? run.file("publication");
  makeFolder(folder, "--out");
  for (const name of COPIED) fs.copyFileSync(path.join(adapter, name), path.join(folder, name));
  const config = parseJsonStrict(readText(path.join(adapter, CONFIG)), CONFIG) as Record<string, unknown>;
  const base = String(options.baseModel ?? config.base_model_name_or_path);
  writeJsonAtomic(path.join(folder, CONFIG), { ...config, base_model_name_or_path: base });
  writeFileAtomic(path.join(folder, PROTOCOL), readText(run.file("protocol.yaml")));
  writeFileAtomic(path.join(folder, "README.md"), card);
  return { folder, files: [...COPIED, CONFIG, PROTOCOL, "README.md"].sort(), evaluations, baseModel: base };
}
