/** The Python that holds transformers and PEFT: STEERLAB_ORACLE_PYTHON, or .venv-oracle in the repository (made by .ci/run). */
import { spawnSync } from "node:child_process";
import * as path from "node:path";
import { ROOT } from "./command-line";

export function oraclePython(): string | null {
  const candidate = process.env.STEERLAB_ORACLE_PYTHON ?? path.join(ROOT, ".venv-oracle/bin/python");
  const probe =
    "import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in ('torch', 'transformers', 'peft', 'safetensors')))";
  return spawnSync(candidate, ["-c", probe]).status === 0 ? candidate : null;
}

/** STEERLAB_REQUIRE_ORACLE=1: its absence is a failure, not a skip. */
export const oracleRequired = process.env.STEERLAB_REQUIRE_ORACLE === "1";
