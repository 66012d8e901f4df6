'use strict';

// Options of a bench that hold more than one value.

/**
 * @param {string} option its name
 * @param {string} text values with commas between them, or `all`
 * @param {string[]} [known] what they may be; numbers above 0 unless given
 * @returns {string[]}
 */
function readList(option, text, known) {
  if (known !== undefined && text === 'all') return known;
  const values = text.split(',');
  for (const value of values) {
    if (known === undefined ? Number(value) > 0 : known.includes(value)) continue;
    fail(`--${option} knows no ${value}; it wants ${known?.join(', ') ?? 'numbers above 0'}`);
  }
  return values;
}

/**
 * @param {string} option its name
 * @param {string} text JSON
 * @returns {object}
 */
function parseObject(option, text) {
  /** @type {unknown} */
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    fail(`--${option}: ${/** @type {Error} */ (error).message}`);
  }
  if (typeof value !== 'object' || value === null) fail(`--${option} wants an object, not ${text}`);
  return value;
}

/**
 * @param {string} message
 * @returns {never}
 */
function fail(message) {
  console.error(message);
  process.exit(2);
}

module.exports = { fail, parseObject, readList };
