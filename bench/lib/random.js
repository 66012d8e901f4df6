'use strict';

// Numbers that look random and are the same each time: every side of a pair gets the same load.

const WARM_UP = 16;

/**
 * Marsaglia's xorshift with 32 bits of state: far from perfect, and enough for arrival times.
 *
 * @param {number} seed an integer
 * @returns {() => number} the next number, above 0 and below 1
 */
function seededRandom(seed) {
  // The multiplier spreads small seeds over all bits; the state must not be 0.
  let state = Math.imul(seed + 1, 0x9e3779b1) || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < WARM_UP; i++) next();
  return next;
}

module.exports = { seededRandom };
