/**
 * Where the project lies: the one place that computes it, from this file, source or compiled.
 */
import * as fs from "node:fs";
import * as path from "node:path";

/** The checkout or installation that holds kernel-lib/, data/ and notebooks/. */
export const PROJECT_FOLDER: string = path.resolve(__dirname, "..", "..", "..");

/** The package folder of this library. */
export const LIBRARY_FOLDER: string = path.join(PROJECT_FOLDER, "kernel-lib");

/** The shipped data: lab model, protocols, prompts, published figures. */
export const DATA_FOLDER: string = path.join(PROJECT_FOLDER, "data");

/** The small model that ships with the project. */
export const LAB_MODEL: string = path.join(DATA_FOLDER, "lab-model");

/** This library's version, as its package.json says. */
export const LIBRARY_VERSION: string = (
  JSON.parse(fs.readFileSync(path.join(LIBRARY_FOLDER, "package.json"), "utf8")) as { version: string }
).version;
