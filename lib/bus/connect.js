'use strict';

// `connect`: which engine a URL means.

const { fileURLToPath } = require('node:url');
const path = require('node:path');
const errors = require('../errors');
const { Bus, open } = require('./bus');
const { busOptions } = require('./options');
const { SCHEMES, redisEngine, withoutSecrets } = require('./redis');

/** @param {unknown} url @returns {URL | undefined} undefined for the engine in memory */
function parse(url) {
  if (url === undefined || url === '') return undefined;
  if (typeof url !== 'string' && !(url instanceof URL)) {
    throw errors.invalidArgType('url', 'of type string or an instance of URL', url);
  }
  try {
    return new URL(url);
  } catch {
    throw errors.invalidArgValue('url', withoutSecrets(url), 'is no URL');
  }
}

/**
 * @param {unknown} url
 * @returns {string} the path in it: also of `file:queue.db`, which is relative
 */
function pathOf(url) {
  const text = String(url);
  if (/[?#]/.test(text)) {
    throw errors.invalidArgValue(
      'url',
      url,
      'has parameters, which a file has none of; in a name they are %3F and %23',
    );
  }
  const [given] = /^file:(?!\/)(.*)$/i.exec(text)?.slice(1) ?? [];
  const found = given === undefined ? fileURLToPath(text) : path.resolve(decoded(given));
  if (given === '' || text.endsWith('/')) throw errors.invalidArgValue('url', url, 'names no file');
  return found;
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    throw errors.invalidArgValue('url', text, 'has a % that no character follows');
  }
}

/**
 * @param {string | URL} [url]
 * @param {any} [given]
 * @returns {Promise<Bus>}
 */
async function connect(url, given) {
  const options = busOptions(given);
  const parsed = parse(url);
  if (options.signal?.aborted) throw errors.aborted(options.signal.reason);
  if (parsed === undefined) return open(require('./embedded').memoryEngine(), options);
  if (parsed.protocol === 'file:') return open(require('./embedded').fileEngine(pathOf(url)), options);
  if (SCHEMES.includes(parsed.protocol)) return open(redisEngine(parsed), options);
  throw errors.invalidArgValue(
    'url',
    withoutSecrets(url),
    `must begin with one of: file:, ${SCHEMES.join(', ')}`,
  );
}

module.exports = { Bus, connect };
