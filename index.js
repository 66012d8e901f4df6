'use strict';

const EventEmitter = require('node:events');
const builtin = /** @type {any} */ (require('node:cluster'));

/** Where register.js leaves the built-in object that works through corral; one per process, whoever loads it. */
const INSTALLED = Symbol.for('corral.installed');

function load() {
  if (builtin.isWorker) {
    // A worker is Node's own, whoever its primary is: the same object, nothing taken away.
    require('./lib/worker').addSuicide(builtin.Worker.prototype);
    return builtin;
  }
  if (INSTALLED in builtin) return builtin;
  const { native, reason } = require('./lib/native');
  if (native === undefined) return require('./lib/fallback').fallBack(builtin, reason);
  return require('./lib/primary').createPrimary(new EventEmitter(), native);
}

module.exports = load();
