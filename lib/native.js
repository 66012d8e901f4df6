'use strict';

// The native binding, or why there is none. Nothing here throws: a program that runs on the built-in cluster must
// also run where corral's binary is missing or broken.

const { whyUnfit } = require('./runtime');

/**
 * @typedef {typeof import('../binding')} Binding
 * @typedef {{ native: Binding | undefined, reason: string }} Loaded why there is none; empty if there is one
 */

/** @returns {Loaded} */
function load() {
  const unfit = whyUnfit();
  if (unfit !== '') return unavailable(unfit);
  try {
    const native = require('../binding');
    const missing = native.missingFunction();
    if (missing !== null) return unavailable(`this runtime (${process.version}) does not export ${missing}`);
    return { native, reason: '' };
  } catch (error) {
    return unavailable(require('./why-no-binary').whyNoBinary(error));
  }
}

/**
 * @param {string} reason
 * @returns {Loaded}
 */
function unavailable(reason) {
  return { native: undefined, reason };
}

module.exports = load();
