'use strict';

// `node --require scripts/replace-net.js test.js`: `require('net')` and `require('node:net')` give corral/net.
//
// Not by changing the built-in module, as corral/register does it with cluster: Node's own http and tls, and corral/net
// itself, are to have the net that they know. And not by Module.prototype.require, which would be seen in the stack
// traces that tests of the REPL compare.

const Module = require('node:module');
const path = require('node:path');
const corralNet = require('../net');

const ROOT = path.resolve(__dirname, '..');
const OURS = [path.join(ROOT, 'net.js'), path.join(ROOT, 'lib') + path.sep];

// None of the tests is one; it would run on the built-in unseen.
if (process.argv[1]?.endsWith('.mjs')) {
  throw new Error(`${process.argv[1]} is an ES module; replace-net replaces only what require() gives`);
}

// Looked at before the built-in modules when a name comes without its scheme (Node's documentation, require.cache).
require.cache.net = Object.assign(new Module('net'), { exports: corralNet, loaded: true });

// With its scheme it is asked for without.
const compile = require.extensions['.js'];

/**
 * @param {NodeJS.Module} module
 * @param {string} filename
 */
require.extensions['.js'] = (module, filename) => {
  if (!OURS.some((ours) => filename.startsWith(ours))) {
    module.require = (/** @type {string} */ id) =>
      Module.prototype.require.call(module, id === 'node:net' ? 'net' : id);
  }
  compile(module, filename);
};
