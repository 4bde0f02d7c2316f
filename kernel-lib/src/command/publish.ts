/** `steerlab publish`: a training run as a folder that is ready for a hub, and its upload. */
import { InputError } from "../base";
import { checkRepository, uploadFolder, writable } from "../checkpoint";
import { startProgress } from "../notebook";
import { buildPublication } from "../report";
import { parseArguments } from "./flags";
import { PUBLISH } from "./tables";

/** Builds the folder, uploads it unless that is not wanted, and prints the place. @throws InputError before anything is sent */
export async function publish(args: readonly string[], signal?: AbortSignal): Promise<void> {
  const { flags, operands } = parseArguments("publish", PUBLISH, args);
  const [training, ...evaluations] = operands;
  const isDry = flags["dry-run"];
  for (const name of [flags.to, flags["base-model"]]) if (name !== undefined) checkRepository(name);
  if (!isDry) {
    if (flags.to === undefined)
      throw new InputError("missing-flag", 'Expected --to ORG/NAME for "steerlab publish" but received none.');
    writable(flags.to);
  }
  const built = buildPublication(training, {
    evaluations: evaluations.length === 0 ? undefined : evaluations,
    baseModel: flags["base-model"],
    repo: flags.to,
    out: flags.out,
  });
  process.stderr.write(
    `steerlab: ${built.files.join(", ")}; the card quotes ${built.evaluations.length} evaluation(s)\n`,
  );
  if (!/^[\w.-]+\/[\w.-]+$/.test(built.baseModel))
    process.stderr.write(
      `steerlab: the card names the base model ${JSON.stringify(built.baseModel)}, which only this machine knows; say where readers find it with --base-model ORG/NAME\n`,
    );
  if (isDry) {
    process.stdout.write(`${built.folder}\n`);
    return;
  }
  const progress = startProgress("publish", built.files.length);
  const place = await uploadFolder(flags.to as string, built.folder, built.files, {
    private: flags.private,
    message: "Adapter and card by steerlab",
    signal,
    onProgress: (done, _, file) => progress.update(done, file),
  });
  progress.done();
  process.stdout.write(`${place}\n`);
}
