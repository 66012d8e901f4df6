'use strict';

// Both sides in one run, one after the other, again and again, and each pair's ratio: what the machine does
// meanwhile (other programs, clock speed) falls on both sides alike, and the ratio's spread shows how much of
// it is left.

const { median } = require('./stats');

/** @typedef {import('./side').Side} Side */
/** @typedef {Record<string, number>} Sample named measurements of one side in one pair */

/**
 * @typedef {object} Pair
 * @property {Sample} builtin
 * @property {Sample} corral
 */

/**
 * Runs the pairs, the side that goes first changing each time.
 *
 * @param {{ pairs: number, control: boolean, json: boolean }} options
 * @param {(side: Side) => Promise<Sample>} measure gets the side to run; under `control` that is always the
 *   built-in
 * @returns {Promise<Pair[]>}
 */
async function runPairs({ pairs, control, json }, measure) {
  /** @type {Pair[]} */
  const results = [];
  for (let i = 0; i < pairs; i++) {
    const pair = /** @type {Pair} */ ({});
    /** @type {Side[]} */
    const order = i % 2 === 0 ? ['builtin', 'corral'] : ['corral', 'builtin'];
    for (const side of order) {
      if (!json) progress(`pair ${i + 1} of ${pairs}, ${side}`);
      pair[side] = await measure(control ? 'builtin' : side);
    }
    results.push(pair);
  }
  if (!json) progress('');
  return results;
}

/**
 * @typedef {object} Comparison
 * @property {number} builtin median of the built-in side
 * @property {number} corral median of our side
 * @property {number} ratio median of the pairs' ratios, corral / built-in
 * @property {number} min
 * @property {number} max
 */

/**
 * @param {Pair[]} pairs
 * @param {string} name a measurement's name
 * @returns {Comparison}
 */
function compare(pairs, name) {
  const ratios = pairs.map((pair) => pair.corral[name] / pair.builtin[name]);
  return {
    builtin: median(pairs.map((pair) => pair.builtin[name])),
    corral: median(pairs.map((pair) => pair.corral[name])),
    ratio: median(ratios),
    min: Math.min(...ratios),
    max: Math.max(...ratios),
  };
}

/** @param {string} text one line that the next one overwrites; for people only */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

module.exports = { compare, progress, runPairs };
