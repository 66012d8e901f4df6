'use strict';

const { parseArgs } = require('node:util');

/**
 * What every bench understands.
 *
 * @typedef {object} CommonOptions
 * @property {number} pairs how many times both sides run
 * @property {number} seconds length of one measured interval
 * @property {boolean} control run the built-in on both sides: what the ratio is when nothing differs
 * @property {boolean} json print the results as one line of JSON instead of a table
 * @property {boolean} check exit with 1 when a target is missed
 */

/**
 * @template {Record<string, number | boolean | string>} T
 * @param {T} defaults the options of the bench and what they are when not given; their types are the options'
 *   types
 * @returns {T & CommonOptions}
 */
function readOptions(defaults) {
  /** @type {Record<string, number | boolean | string>} */
  const values = { pairs: 5, seconds: 5, control: false, json: false, check: false, ...defaults };
  /** @type {Record<string, { type: 'string' | 'boolean' }>} */
  const options = {};
  for (const [name, value] of Object.entries(values)) {
    options[name] = { type: typeof value === 'boolean' ? 'boolean' : 'string' };
  }
  /** @type {Record<string, unknown>} */
  let given;
  try {
    given = parseArgs({ options }).values;
  } catch (error) {
    fail(/** @type {Error} */ (error).message, values);
  }
  for (const [name, value] of Object.entries(given)) {
    if (typeof values[name] !== 'number') {
      values[name] = /** @type {string | boolean} */ (value);
      continue;
    }
    const number = Number(value);
    if (!(number > 0)) fail(`--${name} wants a number above 0, not ${value}`, values);
    values[name] = number;
  }
  return /** @type {any} */ (values);
}

/**
 * @param {string} message
 * @param {Record<string, unknown>} values
 * @returns {never}
 */
function fail(message, values) {
  const known = Object.entries(values).map(
    ([name, value]) => `--${name}${value === false ? '' : ` (${value})`}`,
  );
  console.error(`${message}\noptions and their defaults: ${known.join(', ')}`);
  process.exit(2);
}

module.exports = { readOptions };
