'use strict';

// When a client whose connection is lost makes the next one.

const errors = require('../errors');
const { integer } = require('../util/integer');
const { LONGEST_TIMEOUT } = require('../util/longest-timeout');

const DEFAULTS = { minDelay: 100, maxDelay: 10_000, jitter: 0.5 };

/** Codes of errors that another attempt would only meet again. */
const FINAL = new Set([
  'EACCES',
  'EINVAL',
  'EPROTOTYPE',
  'ERR_CORRAL_PEER_NOT_ALLOWED',
  'ERR_CORRAL_SERIALIZATION',
  'ERR_CORRAL_VERSION',
]);

/**
 * @typedef {object} Policy
 * @property {number} minDelay before the first attempt, in milliseconds; doubled for each further one
 * @property {number} maxDelay
 * @property {number} jitter which part of a delay is left to chance, from 0 to 1
 */

/**
 * @param {unknown} reconnect the option: true, or some of the policy
 * @returns {Policy | undefined}
 */
function policyOf(reconnect) {
  if (reconnect === undefined || reconnect === false) return undefined;
  if (reconnect === true) return DEFAULTS;
  if (reconnect === null || typeof reconnect !== 'object') {
    throw errors.invalidArgType('options.reconnect', 'of type boolean or object', reconnect);
  }
  const minDelay = integer(reconnect, 'minDelay', DEFAULTS.minDelay, 0, LONGEST_TIMEOUT);
  const maxDelay = integer(
    reconnect,
    'maxDelay',
    Math.max(DEFAULTS.maxDelay, minDelay),
    minDelay,
    LONGEST_TIMEOUT,
  );
  const { jitter = DEFAULTS.jitter } = /** @type {any} */ (reconnect);
  if (typeof jitter !== 'number') {
    throw errors.invalidArgType('options.reconnect.jitter', 'of type number', jitter);
  }
  if (!(jitter >= 0 && jitter <= 1)) {
    throw errors.outOfRange('options.reconnect.jitter', '>= 0 && <= 1', jitter);
  }
  return { minDelay, maxDelay, jitter };
}

/**
 * @param {Policy} policy
 * @param {number} attempt from 1
 * @returns {number} in milliseconds
 */
function delayOf({ minDelay, maxDelay, jitter }, attempt) {
  // From 1, so that a policy without a first delay does not ask without end.
  const delay = attempt === 1 ? minDelay : Math.min(maxDelay, Math.max(minDelay, 1) * 2 ** (attempt - 1));
  return Math.round(delay * (1 - jitter * Math.random()));
}

/**
 * @param {Error | undefined} cause
 * @returns {boolean} whether to try again after it
 */
function isTransient(cause) {
  return !FINAL.has(/** @type {any} */ (cause)?.code);
}

module.exports = { delayOf, isTransient, policyOf };
