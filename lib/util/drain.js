'use strict';

// `disconnect({ drain, idle })`: how long a worker that leaves may finish what it has begun. The worker keeps the time.

const errors = require('../errors');
const { DRAIN } = require('../protocol');
const { LONGEST_TIMEOUT } = require('./longest-timeout');

/**
 * Both in milliseconds.
 * @typedef {object} Drain
 * @property {number} drain until every connection is closed
 * @property {number} idle for how long a kept connection without a request stays open for its next one
 */

/**
 * @param {any} options what `disconnect` was given; Node's takes nothing, and is called with a signal's name, or an event
 * @returns {Drain | undefined} undefined for as long as it takes
 */
function drainOf(options) {
  if (options === null || typeof options !== 'object') return undefined;
  const { drain, idle = 0 } = options;
  if (drain === undefined) {
    if (options.idle === undefined) return undefined;
    throw errors.invalidArgValue('options.idle', idle, 'needs options.drain');
  }
  check('options.drain', drain);
  check('options.idle', idle);
  return { drain, idle };
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function check(name, value) {
  if (typeof value !== 'number') throw errors.invalidArgType(name, 'of type number', value);
  if (!isDuration(value)) throw errors.outOfRange(name, `>= 0 && <= ${LONGEST_TIMEOUT}`, value);
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function isDuration(value) {
  return typeof value === 'number' && value >= 0 && value <= LONGEST_TIMEOUT;
}

/**
 * @param {any} message that a worker got
 * @returns {Drain | undefined} undefined if it is none that says how long
 */
function readDrain({ drain, idle }) {
  return isDuration(drain) && isDuration(idle) ? { drain, idle } : undefined;
}

/**
 * Tells a worker how long it has. It is to be told to disconnect next. One that has not loaded corral takes no notice.
 *
 * @param {any} worker
 * @param {Drain} drain
 */
function tellDrain(worker, drain) {
  // A worker that goes meanwhile needs no telling.
  worker.process.send({ cmd: DRAIN, ...drain }, () => {});
}

module.exports = { drainOf, readDrain, tellDrain };
