'use strict';

// What a worker knows of its primary: whether that runs corral's core, and its Node. `cluster.native` says it, and what needs the core
// says why it cannot do without.

const errors = require('../errors');
const { PRIMARY_VARIABLE, readPrimary } = require('../protocol');

let isPrimaryNative = false;
/** Of Node, as far as the primary says so. */
let version = '';

/** @param {any} cluster of this worker */
function addNative(cluster) {
  const value = process.env[PRIMARY_VARIABLE];
  // Not for this worker's own children.
  delete process.env[PRIMARY_VARIABLE];
  // One that was meant for another process came by way of a parent that has not loaded corral.
  const primary = readPrimary(value ?? '');
  isPrimaryNative = primary.pid === `${process.ppid}`;
  version = primary.version;
  Object.defineProperty(cluster, 'native', { value: isPrimaryNative, enumerable: true });
}

/** @returns {Error | undefined} why there is no way to other workers, for lack of a core */
function whyNoCore() {
  if (!isPrimaryNative) return errors.noNative('the primary has not loaded corral, or found no core');
  const { native, reason } = require('../native');
  return native === undefined ? errors.noNative(reason) : undefined;
}

/** @returns {string} the version of Node that the primary runs; empty if that is not known */
function primaryVersion() {
  return isPrimaryNative ? version : '';
}

module.exports = { addNative, primaryVersion, whyNoCore };
