/** Things worth knowing that stop nothing: one line each on stderr, the same line once a process. */

const said = new Set<string>();

/** Says a note, unless this process has said it; a notebook opens the same model in many cells. */
export function say(note: string): void {
  if (said.has(note)) return;
  said.add(note);
  process.stderr.write(`steerlab: note: ${note}\n`);
}
