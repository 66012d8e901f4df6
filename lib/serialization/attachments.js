'use strict';

// Large strings and views of a message. Between two corrals they travel beside the message, as they are, and are put back on
// arrival. A string need not be escaped and parsed, nor the bytes of a Buffer be copied into a message and out of it.

const { limits } = require('../limits');

/** Views of fewer bytes stay in the message. */
const LARGE_VIEW = 64 * 1024;
/** How many properties of a message are searched. */
const MAX_LOOKED_AT = 32;
/** How deep a message is searched. */
const MAX_DEPTH = 3;

/** @typedef {(string | number)[]} Path of a string in a message: names of properties, indexes of arrays */

/**
 * @param {any} value
 * @returns {boolean} whether JSON would write nothing but its own enumerable properties, or its elements
 */
function isPlain(value) {
  if (typeof value !== 'object' || value === null || typeof value.toJSON === 'function') return false;
  if (Array.isArray(value)) return value.length <= MAX_LOOKED_AT;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Strings of fewer units stay in the message. */
let largeString = Number.POSITIVE_INFINITY;
/** How many properties may still be looked at. */
let left = 0;
/** The large strings that have been found. @type {string[]} */
let strings = [];

/**
 * @param {any} value
 * @param {number} depth
 * @returns {Path[] | undefined} where the large strings in it are, in the order of `strings`; nothing is made if there are none
 */
function findStrings(value, depth) {
  if (typeof value === 'string') {
    strings.push(value);
    return [[]];
  }
  if (depth === MAX_DEPTH || !isPlain(value)) return undefined;
  /** @type {Path[] | undefined} */
  let paths;
  // Of an array JSON writes the elements, whatever else it has.
  for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
    if (left-- <= 0) break;
    const inner = value[key];
    // JSON.parse makes a property of this name, an assignment does not.
    if (!isWorthLooking(inner) || key === '__proto__') continue;
    const below = findStrings(inner, depth + 1);
    if (below) paths = [...(paths ?? []), ...below.map((path) => [key, ...path])];
  }
  return paths;
}

/** @param {any} value */
function isWorthLooking(value) {
  return typeof value === 'string'
    ? value.length >= largeString
    : typeof value === 'object' && value !== null;
}

/**
 * A message without its large strings, in whose place there is a number.
 *
 * @param {any} message
 * @param {Path[]} paths
 */
function without(message, paths) {
  if (paths[0].length === 0) return 0;
  /** @type {Map<any, any>} */
  const copies = new Map();
  const copyOf = (/** @type {any} */ value) => {
    let copy = copies.get(value);
    if (copy === undefined) {
      copy = Array.isArray(value) ? [...value] : { ...value };
      copies.set(value, copy);
    }
    return copy;
  };
  const slim = copyOf(message);
  for (const path of paths) {
    let [from, to] = [message, slim];
    for (const key of path.slice(0, -1)) {
      from = from[key];
      to[key] = copyOf(from);
      to = to[key];
    }
    to[/** @type {string} */ (path.at(-1))] = 0;
  }
  return slim;
}

/**
 * @param {any} message
 * @returns {{ text: string, attachments: string[] } | undefined} undefined if nothing in it is large
 */
function takeStrings(message) {
  largeString = limits().SMALLEST_ATTACHMENT;
  if (!isWorthLooking(message)) return undefined;
  left = MAX_LOOKED_AT;
  strings = [];
  const paths = findStrings(message, 0);
  if (paths === undefined) return undefined;
  return { text: JSON.stringify([paths, without(message, paths)]), attachments: strings };
}

/**
 * The path comes from the other process. What is not there in the message itself is refused: a prototype, which others have too,
 * the length of an array, a character of a string.
 *
 * @param {any} place
 * @param {unknown} key
 * @returns {boolean} whether JSON has written something there
 */
function has(place, key) {
  if (typeof place !== 'object' || place === null) return false;
  const isKey = Array.isArray(place) ? Number.isInteger(key) : typeof key === 'string';
  return isKey && Object.hasOwn(place, /** @type {string | number} */ (key));
}

/**
 * Puts an attachment into the place of what stands for it.
 *
 * @param {any} message
 * @param {unknown} path
 * @param {string} attachment
 * @returns {any} the message
 */
function put(message, path, attachment) {
  if (!Array.isArray(path) || path.length > MAX_DEPTH) throw nowhere();
  if (path.length === 0) return attachment;
  let place = message;
  for (const [depth, key] of path.entries()) {
    if (!has(place, key)) throw nowhere();
    if (depth === path.length - 1) place[key] = attachment;
    else place = place[key];
  }
  return message;
}

function nowhere() {
  return new Error('an attachment that belongs nowhere in its message');
}

/**
 * @param {string} text as `takeStrings` has made it
 * @param {string[]} attachments
 * @returns {any} the message; throws on what it would not have made
 */
function putStrings(text, attachments) {
  const parts = JSON.parse(text);
  if (!Array.isArray(parts) || parts.length !== 2) throw new Error('attachments without a message');
  const [paths, message] = parts;
  if (!Array.isArray(paths) || paths.length !== attachments.length) throw nowhere();
  return paths.reduce((whole, path, index) => put(whole, path, attachments[index]), message);
}

module.exports = { LARGE_VIEW, putStrings, takeStrings };
