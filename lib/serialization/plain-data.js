'use strict';

// Which messages JSON represents exactly as V8's format does. Between two corrals such messages travel as JSON also with `serialization:
// 'advanced'`: V8's serializer costs several times as much for a small message.

const { isProxy } = require('node:util').types;

const { INTERNAL } = require('../protocol');

/** How many values such a message may have. */
const MAX_VALUES = 64;
/** Longer strings are V8's to write, which copies them. */
const MAX_STRING = 1024;

/** What has been seen of the message that is looked at. @type {any[]} */
const seen = [];
let left = 0;

/**
 * @param {any} value
 * @returns {boolean}
 */
function isPlainValue(value) {
  if (left-- <= 0) return false;
  switch (typeof value) {
    case 'string':
      return value.length <= MAX_STRING;
    case 'number':
      // JSON has no NaN, no Infinity and no -0.
      return Number.isFinite(value) && !Object.is(value, -0);
    case 'boolean':
      return true;
    case 'object':
      return value === null || isPlainObject(value);
    default:
      return false;
  }
}

/**
 * @param {any} object
 * @returns {boolean}
 */
function isPlainObject(object) {
  // V8 refuses it. Asked first: whatever else is asked, its handler answers.
  if (isProxy(object)) return false;
  // One and the same object in two places arrives as one.
  if (seen.includes(object)) return false;
  seen.push(object);
  const isArray = Array.isArray(object);
  if (Object.getPrototypeOf(object) !== (isArray ? Array.prototype : Object.prototype)) return false;
  // `arguments`, which V8 refuses, and what else has the prototype of a plain object and is none.
  if (!isArray && Object.prototype.toString.call(object) !== '[object Object]') return false;
  // Its own, or everybody's.
  if (object.toJSON !== undefined) return false;
  const keys = Object.keys(object);
  if (isArray && !isDense(object, keys)) return false;
  for (const key of keys) if (!isPlainValue(object[key])) return false;
  return true;
}

/**
 * @param {any[]} array
 * @param {string[]} keys its own: indices come first, in their order
 * @returns {boolean} whether it has all of its elements, and no other properties
 */
function isDense({ length }, keys) {
  return keys.length === length && (length === 0 || keys[length - 1] === `${length - 1}`);
}

/**
 * @param {any} message
 * @returns {boolean} whether JSON says all of it. Not of the protocol's own messages, which the core reads
 */
function isPlainData(message) {
  left = MAX_VALUES;
  // Also after a getter has thrown.
  seen.length = 0;
  const isPlain = isPlainValue(message);
  seen.length = 0;
  return isPlain && !(typeof message?.cmd === 'string' && message.cmd.startsWith(INTERNAL));
}

module.exports = { isPlainData };
