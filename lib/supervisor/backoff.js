'use strict';

// How long to wait before a worker that has failed is started again.

/** In milliseconds. */
const FIRST_DELAY = 100;
const LONGEST_DELAY = 15_000;
/** A worker that has lived for so long has a clean record. In milliseconds. */
const GOOD_LIFE = 30_000;

/**
 * Twice as long each time. Up to half of it is left to chance, so that workers that failed together do not start together.
 *
 * @param {number} failures in a row, from 1
 * @param {() => number} random from 0 to 1
 * @returns {number} milliseconds, from FIRST_DELAY to LONGEST_DELAY
 */
function backoff(failures, random) {
  const full = Math.min(FIRST_DELAY * 2 ** (failures - 1), LONGEST_DELAY);
  return Math.max(FIRST_DELAY, Math.round(full * (1 - random() / 2)));
}

module.exports = { FIRST_DELAY, GOOD_LIFE, LONGEST_DELAY, backoff };
