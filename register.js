'use strict';

// `node --require corral/register app.js`: the built-in cluster object itself works through corral from here on, so
// that `require('cluster')`, `import cluster from 'node:cluster'` and whoever has it already get the same.

const { syncBuiltinESMExports } = require('node:module');

const { install } = require('./lib/install');

const builtin = /** @type {any} */ (require('node:cluster'));

install(builtin);
syncBuiltinESMExports();
