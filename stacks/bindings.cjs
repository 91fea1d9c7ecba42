// Preloaded into the Node of a synthesis (see bindings.py): the provider's own lazy index in the place of the one that
// loads all of its resources. Where a version of the provider has none, nothing changes.
const fs = require("node:fs");
const Module = require("node:module");

const resolve = Module._resolveFilename;
Module._resolveFilename = function (...request) {
  const file = resolve.apply(this, request);
  const lazy = file.replace(/(@cdktf[\\/]provider-kubernetes[\\/]lib[\\/])index\.js$/, "$1lazy-index.js");
  return lazy !== file && fs.existsSync(lazy) ? lazy : file;
};
