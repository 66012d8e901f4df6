'use strict';

// `node --require corral/register app.js`: the built-in cluster object itself works through corral from here on, so
// that `require('cluster')`, `import cluster from 'node:cluster'` and whoever has it already get the same.

const builtin = /** @type {any} */ (require('node:cluster'));
const { syncBuiltinESMExports } = require('node:module');

const INSTALLED = Symbol.for('corral.installed');

if (builtin.isPrimary && !(INSTALLED in builtin)) {
  const { native, reason } = require('./lib/native');
  if (native === undefined) {
    require('./lib/fallback').fallBack(builtin, reason);
  } else {
    require('./lib/primary').createPrimary(builtin, native);
    Object.defineProperty(builtin, INSTALLED, { value: true });
    syncBuiltinESMExports();
  }
} else if (builtin.isWorker) {
  require('./index.js');
}
