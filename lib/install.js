'use strict';

// Which object is the cluster of this process. There is one core in a process, however many copies of corral it
// loads and by whatever name.

const errors = require('./errors');

/** Where the built-in object remembers the cluster object that works through corral. */
const INSTALLED = Symbol.for('corral.installed');

/** A worker's built-in object has this once a copy of corral has added its own. */
const IN_WORKER = Symbol.for('corral.worker');

/** The built-in object, typed as it is and not as its module. */
const builtin = /** @type {any} */ (require('node:cluster'));

/**
 * Makes an object the cluster of this process, unless there is one.
 *
 * @param {object} target a new EventEmitter, or the built-in object
 * @returns {any} the cluster of this process
 */
function install(target) {
  if (builtin.isWorker) {
    if (!Object.hasOwn(builtin, IN_WORKER)) {
      Object.defineProperty(builtin, IN_WORKER, { value: true });
      require('./worker').installInWorker(builtin);
    }
    return builtin;
  }
  const installed = builtin[INSTALLED];
  if (installed !== undefined) {
    if (target === builtin && installed !== builtin) {
      throw errors.create(
        Error,
        'ERR_CORRAL_REGISTER_LATE',
        'corral/register must be loaded before corral: --require corral/register, or --import',
      );
    }
    return installed;
  }
  const { native, reason } = require('./native');
  if (native === undefined) return require('./fallback').fallBack(builtin, reason);
  const cluster = require('./primary/cluster').createPrimary(target, native);
  Object.defineProperty(builtin, INSTALLED, { value: cluster });
  return cluster;
}

module.exports = { install };
