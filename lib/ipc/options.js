'use strict';

// The options of servers and channels, checked.

const errors = require('../errors');
const serializations = require('../serialization');
const { integer } = require('../util/integer');
const { LONGEST_TIMEOUT } = require('../util/longest-timeout');

const DEFAULT_MAX_MESSAGE_SIZE = 64 * 1024 * 1024;
const DEFAULT_MAX_QUEUED_BYTES = 64 * 1024 * 1024;
const DEFAULT_HANDSHAKE_TIMEOUT = 10_000;
/** The longest string that V8 can hold is a little more. */
const LARGEST_MESSAGE = 512 * 1024 * 1024;

/**
 * @param {any} options
 * @returns {import('./reactor').Terms}
 */
function termsOf(options) {
  const { serialization = 'json', allow } = options;
  if (serialization !== 'json' && serialization !== 'advanced') {
    throw errors.invalidArgValue('options.serialization', serialization);
  }
  if (allow !== undefined && typeof allow !== 'function') {
    throw errors.invalidArgType('options.allow', 'of type function', allow);
  }
  return {
    serialization: serializations[/** @type {'json' | 'advanced'} */ (serialization)],
    maxMessageSize: integer(options, 'maxMessageSize', DEFAULT_MAX_MESSAGE_SIZE, 1, LARGEST_MESSAGE),
    maxQueuedBytes: integer(options, 'maxQueuedBytes', DEFAULT_MAX_QUEUED_BYTES, 1, Number.MAX_SAFE_INTEGER),
    handshakeTimeout: integer(options, 'handshakeTimeout', DEFAULT_HANDSHAKE_TIMEOUT, 1, LONGEST_TIMEOUT),
    allow,
  };
}

/**
 * Of a server or a client: channels are only to be had at paths and abstract names.
 *
 * @param {any} options
 * @returns {string}
 */
function pathOf({ path, port, host, fd }) {
  if (path === undefined) {
    const [name, value] = Object.entries({ port, host, fd }).find(([, other]) => other !== undefined) ?? [];
    if (name !== undefined) {
      const why = `a channel needs a path, not '${name}': only Unix sockets know who is at the other end`;
      throw errors.create(TypeError, 'ERR_INVALID_ARG_VALUE', `${why}. Received ${value}`);
    }
    throw errors.missingArgs('path');
  }
  if (typeof path !== 'string') throw errors.invalidArgType('options.path', 'of type string', path);
  if (path === '' || path.lastIndexOf('\0') > 0) throw errors.invalidArgValue('options.path', path);
  return path;
}

/**
 * The arguments of `server.listen`, checked.
 *
 * @param {any[]} args
 */
function listenOptions(args) {
  const callback = typeof args.at(-1) === 'function' ? args.at(-1) : undefined;
  const [first, second] = args;
  let options = first;
  if (typeof first === 'number') options = { port: first };
  else if (first === null || typeof first !== 'object') options = { path: first, backlog: second };
  const { readableAll = false, writableAll = false, signal, backlog } = options;
  return {
    path: pathOf(options),
    access: {
      readableAll: Boolean(readableAll),
      writableAll: Boolean(writableAll),
      backlog: typeof backlog === 'number' && backlog > 0 ? backlog : undefined,
    },
    signal,
    callback,
  };
}

module.exports = { listenOptions, pathOf, termsOf };
