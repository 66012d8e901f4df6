'use strict';

const errors = require('../errors');

/**
 * An option that is an integer, checked.
 *
 * @param {any} options
 * @param {string} name
 * @param {number} fallback when it is not given
 * @param {number} min
 * @param {number} max
 * @returns {number}
 */
function integer(options, name, fallback, min, max) {
  const value = options[name];
  if (value === undefined) return fallback;
  if (typeof value !== 'number') throw errors.invalidArgType(`options.${name}`, 'of type number', value);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw errors.outOfRange(`options.${name}`, `an integer >= ${min} && <= ${max}`, value);
  }
  return value;
}

module.exports = { integer };
