'use strict';

// Numbers that Rust knows as well, as Rust has them: src/binding/limits.rs.

const errors = require('./errors');

/** @typedef {typeof import('../binding').limits} Limits */

/** @type {Limits | undefined} */
let known;

/**
 * Loads the binding if nobody has. A caller has something to send, which takes a binding.
 *
 * @returns {Limits}
 */
function limits() {
  known ??= load();
  return known;
}

function load() {
  const { native, reason } = require('./native');
  if (native === undefined) throw errors.featureUnavailable('messages', reason);
  return native.limits;
}

module.exports = { limits };
