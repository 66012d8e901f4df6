'use strict';

const path = require('node:path');

/**
 * The two sides of every comparison. A bench program runs under one of them; which one stands in its
 * environment, so that both sides run the very same files.
 *
 * @typedef {'builtin' | 'corral'} Side
 */

/** The environment variable that carries the side to the program. */
const SIDE_VARIABLE = 'CORRAL_BENCH_SIDE';

/** The environment variable that says where corral is, if it is not this one: to measure another build. */
const MODULE_VARIABLE = 'CORRAL_BENCH_MODULE';

/** @returns {string} the directory of the corral that is measured */
function modulePath() {
  return process.env[MODULE_VARIABLE] ?? path.join(__dirname, '../..');
}

/**
 * The cluster module of the side that this process was started for.
 * @returns {import('node:cluster').Cluster}
 */
function loadCluster() {
  const side = process.env[SIDE_VARIABLE];
  // The types know this module by its default export only, which is what require() gives.
  if (side === 'builtin') return /** @type {any} */ (require('node:cluster'));
  if (side !== 'corral')
    throw new Error(`${SIDE_VARIABLE} is ${side}: start this program through a bench script`);
  const corral = require(modulePath());
  // A fallback to the built-in would compare Node with itself and look like a result.
  if (corral.native === false) throw new Error('corral has no native binary here: build it first');
  return corral;
}

module.exports = { MODULE_VARIABLE, SIDE_VARIABLE, loadCluster, modulePath };
