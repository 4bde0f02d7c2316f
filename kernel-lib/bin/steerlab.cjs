#!/usr/bin/env node
require("../dist/command/main.js").main(process.argv.slice(2));
