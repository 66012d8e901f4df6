'use strict';

// `require('corral')` where there is no binding: Node's own cluster, marked as such.

/** @import { Cluster } from '..' */

/**
 * Marks Node's own cluster as such, and says so once, in the primary: its workers run on the same machine, with the same
 * environment, and would only say it again.
 *
 * @param {object} builtin the built-in cluster object of this process
 * @param {string} reason why there is no core, from native.js
 * @returns {Cluster} the same object, with `native` false
 */
function fallBack(builtin, reason) {
  const cluster = /** @type {Cluster} */ (builtin);
  // A second copy of corral in the same process finds the mark of the first.
  if (cluster.native === false) return cluster;
  Object.defineProperty(cluster, 'native', { value: false, enumerable: true });
  if (cluster.isPrimary) {
    process.emitWarning(`corral runs on Node's own cluster: ${reason}`, { code: 'CORRAL_NO_NATIVE' });
  }
  return cluster;
}

module.exports = { fallBack };
