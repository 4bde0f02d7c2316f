/** This library's version, as its package.json says. */
import * as fs from "node:fs";
import * as path from "node:path";

const manifest = path.resolve(__dirname, "..", "..", "package.json");

export const LIBRARY_VERSION: string = (JSON.parse(fs.readFileSync(manifest, "utf8")) as { version: string }).version;
