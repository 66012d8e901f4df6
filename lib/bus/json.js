'use strict';

// JSON.stringify, which up to V8 13.7 looks at long texts one character at a time: for them it is most of what a message costs. What
// it gives is what JSON.stringify gives.

/** From so many characters on a text is worth a call of the addon, and up to so many it takes one. */
const LONG = 256;
const LONGEST = 64 * 1024;

/** How many names of properties are remembered as JSON. */
const MAX_NAMES = 1_000;

const [major, minor] = process.versions.v8.split('.').map(Number);

const isFast = major > 13 || (major === 13 && minor >= 8);

/** Says whether a text of ASCII is JSON as it is, in quotes. @type {((text: string) => boolean) | undefined} */
let isPlain;

/** The addon is there. @param {(text: string) => boolean} ofAddon */
function usePlain(ofAddon) {
  if (!isFast) isPlain = ofAddon;
}

/** @type {Map<string, string>} */
const names = new Map();

/** @param {string} name */
function nameOf(name) {
  let text = names.get(name);
  if (text === undefined) {
    text = `${JSON.stringify(name)}:`;
    if (names.size === MAX_NAMES) names.clear();
    names.set(name, text);
  }
  return text;
}

/** @param {unknown} value */
const isLong = (value) => typeof value === 'string' && value.length >= LONG && value.length <= LONGEST;

/** @param {string} text a long one @returns {string} */
function quote(text) {
  const isAscii = Buffer.byteLength(text) === text.length;
  return isAscii && isPlain?.(text) ? `"${text}"` : JSON.stringify(text);
}

/** Whether it is a plain object, of which a property is a long text. @param {any} message */
function hasLongText(message) {
  if (typeof message !== 'object' || message === null) return false;
  if (Object.getPrototypeOf(message) !== Object.prototype || message.toJSON !== undefined) return false;
  for (const name in message) if (isLong(message[name])) return true;
  return false;
}

/** @param {any} message @returns {string | undefined} as JSON.stringify gives it */
function stringify(message) {
  if (isPlain === undefined) return JSON.stringify(message);
  if (isLong(message)) return quote(message);
  if (!hasLongText(message)) return JSON.stringify(message);
  let text = '{';
  for (const name of Object.keys(message)) {
    const value = message[name];
    // What it is to others, in an object of its own: toJSON is told its name, and it may be nothing.
    const part = isLong(value) ? nameOf(name) + quote(value) : JSON.stringify({ [name]: value }).slice(1, -1);
    if (part !== '') text += text === '{' ? part : `,${part}`;
  }
  return `${text}}`;
}

module.exports = { stringify, usePlain };
