'use strict';

// Says when requests are due, on a thread of its own: the event loop's timers know milliseconds only, and requests
// that take one millisecond want better. Started by lib/open-loop-process.js.

const { parentPort } = require('node:worker_threads');

/**
 * @typedef {object} Timetable
 * @property {Float64Array} times milliseconds after `start`, ascending
 * @property {number} start by clock()
 * @property {Int32Array} stop shared; other than 0 when no more is wanted
 */

/** Those due within so many milliseconds of each other are told together, so that many cost little. */
const RESOLUTION_MS = 0.2;

/** Milliseconds since some moment that is the same for all threads. */
function clock() {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}

/** @param {Timetable} timetable */
function run({ times, start, stop }) {
  let due = 0;
  let told = -Infinity;
  while (due < times.length) {
    const next = Math.max(start + times[due], told + RESOLUTION_MS);
    const left = next - clock();
    if (left > 0 && Atomics.wait(stop, 0, 0, left) !== 'timed-out') return;
    told = clock();
    while (due < times.length && start + times[due] <= told) due++;
    parentPort?.postMessage(due);
  }
}

parentPort?.once('message', run);

module.exports = { clock };
