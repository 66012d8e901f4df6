'use strict';

// Numbers that Rust knows as well, as Rust has them: src/binding/limits.rs.

/** @typedef {typeof import('../binding').limits} Limits */

/** @type {Limits | undefined} */
let known;

/**
 * The binding has been loaded by then: a caller has something to send on a channel of the core's.
 *
 * @returns {Limits}
 */
function limits() {
  known ??= /** @type {Limits} */ (require('../binding').limits);
  return known;
}

module.exports = { limits };
