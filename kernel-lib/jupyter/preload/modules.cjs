/**
 * Module resolution: a notebook in any folder may `import ... from "steerlab"` (or arquero, plotly, ...).
 *
 * A package that cannot be found from the notebook's folder is looked up again from this installation, both by Node's
 * `require` and by the TypeScript inside tslab. What the notebook's own folder offers always wins.
 * Also keeps tslab from starting another tslab that happens to be installed above the notebook.
 */
"use strict";

const Module = require("node:module");
const path = require("node:path");
const { compilerHooks } = require("./compiler.cjs");

const PACKAGE_DIR = path.resolve(__dirname, "..", "..");
const fromHere = Module.createRequire(path.join(PACKAGE_DIR, "package.json"));
const { dependencies } = fromHere("./package.json"); // read before notebooks' reads are noted: it is no input of theirs

/** Installs the hooks and returns tslab's modules and what its compiler said last: { jupyter, executor, ts, latest }. */
function hookModules() {
  const distDir = path.join(path.dirname(fromHere.resolve("tslab/package.json")), "dist");
  const fromTslab = Module.createRequire(path.join(distDir, "main.js"));
  hookRequire(path.join(distDir, "main.js"));
  const { ts, latest } = hookTypeScript(fromTslab);
  return { jupyter: fromTslab("./jupyter"), executor: fromTslab("./executor"), ts, latest };
}

function isBare(request) {
  return !request.startsWith(".") && !path.isAbsolute(request) && !request.startsWith("node:");
}

function hookRequire(ourMain) {
  const resolve = Module._resolveFilename;
  Module._resolveFilename = function resolveFilename(request, parent, ...rest) {
    if (/(^|[\\/])node_modules[\\/]tslab[\\/]dist[\\/]main\.js$/.test(request)) return ourMain;
    try {
      return resolve.call(this, request, parent, ...rest);
    } catch (error) {
      const inPackage = /[\\/]node_modules[\\/]/.test(parent?.filename ?? "");
      if (error.code !== "MODULE_NOT_FOUND" || !isBare(request) || inPackage) throw error;
      try {
        return resolve.call(this, request, { ...parent, paths: fromHere.resolve.paths(request) }, ...rest);
      } catch {
        throw error;
      }
    }
  };
}

/**
 * `paths` for what the notebook's folder does not offer and this installation does. A later cell that makes a value of such a
 * package's type without importing it must be able to write the type down ("cannot be named" otherwise), and the compiler takes
 * names from `paths` and from folders above the notebook alone.
 */
function pathsFromHere(ts, options, fallbackFile) {
  const cell = path.join(process.cwd(), "cell.ts");
  const placeOf = (name, from) => ts.resolveModuleName(name, from, options, ts.sys).resolvedModule?.resolvedFileName;
  const missing = ["steerlab", ...Object.keys(dependencies)].filter((name) => placeOf(name, cell) === undefined);
  const found = missing.map((name) => [name, placeOf(name, fallbackFile)]).filter(([, file]) => file !== undefined);
  if (found.length === 0) return {};
  // A name is given only for what is written relative to the base and lies below it.
  const { root } = path.parse(PACKAGE_DIR);
  const paths = found.map(([name, file]) => [name, [path.relative(root, file).split(path.sep).join("/")]]);
  return { paths: Object.fromEntries(paths), pathsBasePath: root };
}

/** Replaces the cached TypeScript module by one that resolves missing packages from here and tells what it compiled. */
function hookTypeScript(fromTslab) {
  const id = fromTslab.resolve("@tslab/typescript-for-tslab");
  const ts = fromTslab(id);
  const fallbackFile = path.join(PACKAGE_DIR, "__notebook__.ts");
  const { overrides, latest } = compilerHooks(ts);
  const createWatchCompilerHost = (files, given, ...rest) => {
    const settings = { ...given, ...pathsFromHere(ts, given, fallbackFile) };
    const host = overrides.createWatchCompilerHost(files, settings, ...rest);
    host.resolveModuleNameLiterals = (literals, containingFile, redirected, options) =>
      literals.map(({ text }) => {
        const found = ts.resolveModuleName(text, containingFile, options, host, undefined, redirected);
        if (found.resolvedModule !== undefined || !isBare(text)) return found;
        const again = ts.resolveModuleName(text, fallbackFile, options, host);
        return again.resolvedModule === undefined ? found : again;
      });
    return host;
  };
  const replaced = { ...overrides, createWatchCompilerHost, __esModule: true };
  require.cache[id].exports = Object.create(
    ts,
    Object.fromEntries(Object.entries(replaced).map(([name, value]) => [name, { value, enumerable: true }])),
  );
  return { ts, latest };
}

module.exports = { hookModules };
