'use strict';

// What the program gives, checked.

const errors = require('../errors');
const { integer } = require('../util/integer');
const { LONGEST_TIMEOUT } = require('../util/longest-timeout');

const DEFAULT_MAX_MESSAGE_SIZE = 1024 * 1024;
const MAX_MESSAGE_SIZE = 64 * 1024 * 1024;
const DEFAULT_TIMEOUT = 30_000;
const DEFAULT_CONNECT_TIMEOUT = 10_000;
const DEFAULT_OFFLINE_MESSAGES = 10_000;
const DEFAULT_OFFLINE_BYTES = 64 * 1024 * 1024;

/** The longest name, of anything, in bytes. */
const MAX_NAME = 255;

/** The longest delay, visibility and the like, in milliseconds: about 31 years. */
const LONGEST = 1e12;

/** How many messages one call asks for. */
const MAX_COUNT = 10_000;

const DEFAULT_BUFFER = 1_000;
const MAX_BUFFER = 1_000_000;

const DEFAULT_DEDUPLICATE = 300_000;

/** @typedef {import('./client').Wait} Wait */
/**
 * @typedef {object} BusOptions
 * @property {'json' | 'advanced'} serialization
 * @property {'disk' | 'process'} durability
 * @property {number} maxMessageSize
 * @property {number} connectTimeout
 * @property {number} timeout
 * @property {Wait} wait of a call of which nothing is said
 * @property {{ messages: number, bytes: number }} offline
 * @property {AbortSignal | undefined} signal
 */

/** @param {any} options @param {string} [name] @returns {any} an object */
function object(options, name = 'options') {
  if (options === undefined) return {};
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw errors.invalidArgType(name, 'of type object', options);
  }
  return options;
}

/**
 * @template {string} T
 * @param {any} options
 * @param {string} name
 * @param {readonly T[]} known of which the first is the default
 * @returns {T}
 */
function oneOf(options, name, known) {
  const value = options[name];
  if (value === undefined) return known[0];
  if (known.includes(value)) return value;
  throw errors.invalidArgValue(`options.${name}`, value, `must be one of: ${known.join(', ')}`);
}

/** @param {any} options @param {string} name @param {number} fallback @param {number} least @param {number} most */
function number(options, name, fallback, least, most) {
  const value = options[name];
  if (value === undefined) return fallback;
  if (typeof value !== 'number') throw errors.invalidArgType(`options.${name}`, 'of type number', value);
  if (!(value >= least && value <= most)) {
    throw errors.outOfRange(`options.${name}`, `>= ${least} && <= ${most}`, value);
  }
  return value;
}

/** @param {any} options @param {string} name @param {number} fallback @param {number} [least] */
const duration = (options, name, fallback, least = 0) =>
  Math.ceil(number(options, name, fallback, least, LONGEST));

/** @param {any} options @returns {AbortSignal | undefined} */
function signalOf({ signal }) {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw errors.invalidArgType('options.signal', 'an instance of AbortSignal', signal);
  }
  return signal;
}

/** @param {unknown} given @returns {BusOptions} */
function busOptions(given) {
  const options = object(given);
  const offline = object(options.offline, 'options.offline');
  const timeout = integer(options, 'timeout', DEFAULT_TIMEOUT, 0, LONGEST_TIMEOUT);
  return {
    serialization: oneOf(options, 'serialization', /** @type {const} */ (['json', 'advanced'])),
    durability: oneOf(options, 'durability', /** @type {const} */ (['disk', 'process'])),
    maxMessageSize: integer(options, 'maxMessageSize', DEFAULT_MAX_MESSAGE_SIZE, 1, MAX_MESSAGE_SIZE),
    connectTimeout: integer(options, 'connectTimeout', DEFAULT_CONNECT_TIMEOUT, 1, LONGEST_TIMEOUT),
    timeout,
    wait: waitOf({}, timeout),
    offline: {
      messages: integer(offline, 'messages', DEFAULT_OFFLINE_MESSAGES, 0, Number.MAX_SAFE_INTEGER),
      bytes: integer(offline, 'bytes', DEFAULT_OFFLINE_BYTES, 0, Number.MAX_SAFE_INTEGER),
    },
    signal: signalOf(options),
  };
}

/**
 * @param {any} options of a call
 * @param {number} fallback
 * @returns {Wait}
 */
function waitOf(options, fallback) {
  const timeout = integer(options, 'timeout', fallback, 0, LONGEST_TIMEOUT);
  return { timeout: timeout === 0 ? Number.POSITIVE_INFINITY : timeout, signal: signalOf(options) };
}

/** @param {string} what @param {unknown} value @returns {string} a name */
function nameOf(what, value) {
  if (typeof value !== 'string') throw errors.invalidArgType(what, 'of type string', value);
  const length = Buffer.byteLength(value);
  // A text that is no UTF-16 would come back as another.
  if (length === 0 || length > MAX_NAME || !(/** @type {any} */ (value).isWellFormed())) {
    throw errors.invalidArgValue(what, value, `must have 1 to ${MAX_NAME} bytes of UTF-8`);
  }
  return value;
}

/** @param {any} options @param {string} name @returns {string} '' without one */
const optionalName = (options, name) =>
  options[name] === undefined ? '' : nameOf(`options.${name}`, options[name]);

/** @param {any} headers @returns {Record<string, string> | undefined} */
function headersOf({ headers }) {
  if (headers === undefined) return undefined;
  object(headers, 'options.headers');
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== 'string') {
      throw errors.invalidArgType(`options.headers.${name}`, 'of type string', value);
    }
  }
  return headers;
}

/**
 * @param {any} options of a message
 */
function messageOptions(options) {
  return {
    delay: duration(options, 'delay', 0),
    priority: integer(options, 'priority', 0, 0, 255),
    id: optionalName(options, 'id'),
    deduplicate: duration(options, 'deduplicate', DEFAULT_DEDUPLICATE, 1),
    headers: headersOf(options),
    expires: options.expires === undefined ? Number.POSITIVE_INFINITY : duration(options, 'expires', 0, 1),
    group: optionalName(options, 'group'),
  };
}

/** @param {any} options */
function queueOptions(options) {
  const retry = object(options.retry, 'options.retry');
  return {
    visibility: options.visibility === undefined ? undefined : duration(options, 'visibility', 0, 1),
    maxDeliveries:
      options.maxDeliveries === undefined ? undefined : integer(options, 'maxDeliveries', 0, 0, 2 ** 32 - 1),
    deadLetter: options.deadLetter === undefined ? undefined : optionalName(options, 'deadLetter'),
    retry: {
      delay: duration(retry, 'delay', 1_000),
      factor: number(retry, 'factor', 2, 1, 1_000),
      maxDelay: duration(retry, 'maxDelay', 60_000),
      jitter: number(retry, 'jitter', 0.5, 0, 1),
    },
  };
}

/** @param {any} options of `receive` */
function receiveOptions(options) {
  const { wait } = options;
  return {
    wait: wait === Number.POSITIVE_INFINITY ? wait : duration(options, 'wait', 0),
    count: integer(options, 'count', 1, 1, MAX_COUNT),
    visibility: visibilityOf(options),
  };
}

/** @param {any} options @returns {number} 0 for the queue's */
const visibilityOf = (options) =>
  options.visibility === undefined ? 0 : duration(options, 'visibility', 0, 1);

/** @param {any} options of `nack` */
function nackOptions(options) {
  const { error = '' } = options;
  const isText = typeof error === 'string';
  if (!isText && !(error instanceof Error)) {
    throw errors.invalidArgType('options.error', 'of type string or an instance of Error', error);
  }
  return { delay: duration(options, 'delay', 0), error: isText ? error : String(error) };
}

/** @param {any} options of `subscribe` */
function subscribeOptions(options) {
  return {
    buffer: integer(options, 'buffer', DEFAULT_BUFFER, 1, MAX_BUFFER),
    overflow: oneOf(options, 'overflow', /** @type {const} */ (['drop-oldest', 'end'])),
  };
}

module.exports = {
  MAX_COUNT,
  busOptions,
  messageOptions,
  nackOptions,
  nameOf,
  object,
  queueOptions,
  receiveOptions,
  subscribeOptions,
  visibilityOf,
  waitOf,
};
