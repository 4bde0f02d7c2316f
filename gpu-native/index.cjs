"use strict";
// Finds and loads the addon; a failure lists what was tried and the command that mends it. Types: index.d.ts.
const { existsSync } = require("node:fs");
const { join } = require("node:path");

const API_VERSION = 1;
const REMEDY = "Run: npm run build (needs a C++20 compiler and CMake >= 3.18; Debian: apt-get install g++ cmake make).";

function missing(message) {
  const error = new Error(message);
  error.code = "native-missing";
  return error;
}

let loaded = null;

function loadNative() {
  if (loaded) return loaded;
  const places = [process.env.STEERLAB_NATIVE, join(__dirname, "build", "steerlab.node")].filter(Boolean);
  const attempts = [];
  for (const place of places) {
    if (!existsSync(place)) {
      attempts.push(`${place}: no such file`);
      continue;
    }
    try {
      const binding = require(place);
      if (binding.apiVersion === API_VERSION) {
        loaded = binding;
        return binding;
      }
      attempts.push(`${place}: API version ${binding.apiVersion}, expected ${API_VERSION}`);
    } catch (error) {
      attempts.push(`${place}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw missing(`The native engine could not be loaded. Tried ${attempts.join("; ")}. ${REMEDY}`);
}

module.exports = { API_VERSION, loadNative };
