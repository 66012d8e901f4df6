'use strict';

// How many messages are handled in one turn of the event loop, of all connections together. The rest waits for the next turn, so that
// timers, signals and others have theirs in between, however much a peer writes.

/** A message costs 1, and 1 more for each 4 KiB of it: that is so many of the smallest, or 1 MiB. */
const MAX_COST = 256;

/**
 * Work that is done step by step.
 * @typedef {object} Work
 * @property {() => number} step does one step and returns its cost, or 0 if nothing was left
 * @property {() => void} done called when nothing is left
 */

let left = MAX_COST;
let isArmed = false;
/** In their order. @type {Set<Work>} */
const waiting = new Set();

/**
 * Goes on with some work, as far as this turn goes.
 *
 * @param {Work} work
 * @returns {boolean} whether it is done; the rest follows by itself
 */
function run(work) {
  return slice(work, left);
}

/**
 * @param {Work} work
 * @param {number} most that it may cost now
 */
function slice(work, most) {
  arm();
  waiting.delete(work);
  let isDone = false;
  try {
    for (let spent = 0; spent < most && !isDone; ) {
      const cost = work.step();
      spent += cost;
      left -= cost;
      isDone = cost === 0;
    }
  } finally {
    // Also the messages behind one whose handler throws.
    if (!isDone) waiting.add(work);
  }
  if (isDone) work.done();
  return isDone;
}

/** The next turn begins when all connections of this one have been read. */
function arm() {
  if (isArmed) return;
  isArmed = true;
  setImmediate(nextTurn);
}

function nextTurn() {
  isArmed = false;
  left = MAX_COST;
  if (waiting.size === 0) return;
  const share = Math.max(1, Math.floor(MAX_COST / waiting.size));
  try {
    for (const work of [...waiting]) if (left > 0) slice(work, share);
  } finally {
    arm();
  }
}

module.exports = { run };
