'use strict';

// What the program gives, checked as rsmq does: with the same errors, which have names and no codes. Nothing is written
// into the program's objects.

/** @type {Record<string, (data: any) => string>} */
const ERRORS = {
  noAttributeSupplied: () => 'No attribute was supplied',
  missingParameter: ({ item }) => `No ${item} supplied`,
  invalidFormat: ({ item }) => `Invalid ${item} format`,
  invalidValue: ({ item, min, max }) => `${item} must be between ${min} and ${max}`,
  messageNotString: () => 'Message must be a string',
  messageTooLong: () => 'Message too long',
  queueNotFound: () => 'Queue not found',
  queueExists: () => 'Queue exists',
};

/** @type {Record<string, RegExp>} */
const FORMATS = { qname: /^([a-zA-Z0-9_-]){1,160}$/, id: /^([a-zA-Z0-9:]){32}$/ };

/** The longest delay and visibility, in seconds. */
const LONGEST = 9_999_999;

/** The bounds of a queue's `maxsize`, which may also be -1. */
const MAXSIZE = { min: 1_024, max: 65_536 };

/** @param {string} name @param {any} [data] */
function failure(name, data = {}) {
  const error = new Error(ERRORS[name](data));
  error.name = name;
  return error;
}

/** @param {string} item @param {any} given */
function text(item, given) {
  if (!given) throw failure('missingParameter', { item });
  const value = given.toString();
  if (!FORMATS[item].test(value)) throw failure('invalidFormat', { item });
  return value;
}

/** @param {string} item @param {any} given */
function whole(item, given) {
  const value = Number.parseInt(given, 10);
  const { min, max } = item === 'maxsize' ? MAXSIZE : { min: 0, max: LONGEST };
  const isUnbounded = item === 'maxsize' && value === -1;
  // Of no number neither is true.
  if (!isUnbounded && !(value >= min && value <= max)) throw failure('invalidValue', { item, min, max });
  return value;
}

/**
 * @param {any} options
 * @param {string[]} items
 * @returns {any} these of them, as they are used
 */
function checked(options, items) {
  return Object.fromEntries(
    items.map((item) => [item, (item in FORMATS ? text : whole)(item, options[item])]),
  );
}

module.exports = { checked, failure };
