'use strict';

// corral in this process: Node's own cluster object works through it, so that whoever has that object, by whatever
// name, has corral's. There is one core in a process, however many copies of corral it loads.

/** The built-in object, typed as it is and not as its module. */
const builtin = /** @type {any} */ (require('node:cluster'));

// Before anything else is loaded.
if (builtin.isWorker) require('./worker/watch').hideOwnFiles();

const { syncBuiltinESMExports } = require('node:module');
const path = require('node:path');

const { version } = require('../package.json');

/**
 * Where the cluster object remembers the copy of corral that came first. Every copy looks there, of whatever version.
 * @typedef {{ version: string, directory: string }} Copy
 */
const INSTALLED = Symbol.for('corral.installed');

const directory = path.dirname(__dirname);

/**
 * Has the cluster of this process work through corral, unless a copy of corral has done so.
 *
 * @returns {any} the cluster of this process
 */
function install() {
  const first = /** @type {Copy | undefined} */ (builtin[INSTALLED]);
  if (first !== undefined) {
    warnOfOtherVersion(first);
    return builtin;
  }
  if (builtin.isWorker) require('./worker').installInWorker(builtin);
  else installInPrimary();
  Object.defineProperty(builtin, INSTALLED, { value: { version, directory } });
  // Names that ES modules have imported from it before are the new ones from here on.
  syncBuiltinESMExports();
  return builtin;
}

function installInPrimary() {
  const { native, reason } = require('./native');
  if (native === undefined) return fallBack({ code: 'CORRAL_NO_NATIVE', reason });
  if (require('./takeover').hasForked(builtin)) {
    const reason = 'it had forked workers before corral was loaded';
    return fallBack({ code: 'CORRAL_TOO_LATE', reason });
  }
  require('./primary/cluster').createPrimary(builtin, native);
}

/** @param {{ code: string, reason: string }} why */
function fallBack(why) {
  require('./fallback').fallBack(builtin, why);
}

/** @param {Copy} first */
function warnOfOtherVersion(first) {
  if (first.version === version) return;
  process.emitWarning(
    `corral ${version} in ${directory} is not used: version ${first.version} in ${first.directory} came first`,
    { code: 'CORRAL_OTHER_VERSION' },
  );
}

module.exports = { install };
