/** Python with torch, transformers and peft: STEERLAB_ORACLE_PYTHON, or .venv-oracle in the repository; null where there is none. */
import { spawnSync } from "node:child_process";
import * as path from "node:path";

const ROOT = path.join(__dirname, "..", "..");

export function oraclePython(): string | null {
  const candidate = process.env.STEERLAB_ORACLE_PYTHON ?? path.join(ROOT, ".venv-oracle/bin/python");
  const probe =
    "import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in ('torch', 'transformers', 'peft', 'safetensors')))";
  return spawnSync(candidate, ["-c", probe]).status === 0 ? candidate : null;
}
