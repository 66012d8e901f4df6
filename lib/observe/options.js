'use strict';

// The options of `cluster.observe`, checked.

const net = require('node:net');

const errors = require('../errors');
const { integer } = require('../util/integer');

const DEFAULT_HOST = '127.0.0.1';
/** When an event loop that does not turn counts as blocked, in milliseconds. */
const DEFAULT_BLOCKED_AFTER = 1000;
const MAX_BLOCKED_AFTER = 3_600_000;
const MAX_PORT = 65_535;
/** What may stand behind `Authorization: Bearer`. */
const TOKEN = /^[\x21-\x7e]+$/;

/**
 * @param {any} options
 * @returns {import('./binding').ObserveSettings}
 */
function settingsOf(options) {
  if (options === null || typeof options !== 'object') {
    throw errors.invalidArgType('options', 'of type object', options);
  }
  const path = pathOf(options.path);
  const token = tokenOf(options.token);
  const allow = allowOf(options.allow);
  const blockedAfter = integer(options, 'blockedAfter', DEFAULT_BLOCKED_AFTER, 1, MAX_BLOCKED_AFTER);
  if (path !== undefined) return { host: DEFAULT_HOST, port: 0, path, token, allow, blockedAfter };
  const host = hostOf(options.host);
  if (options.port === undefined) throw errors.missingArgs('options.port');
  const { port } = options;
  if (!Number.isInteger(port) || port < 0 || port > MAX_PORT) throw errors.badSocketPort(port);
  // Whoever reaches the port could read everything.
  if (!isLoopback(host) && token === undefined && allow === undefined) throw errors.unguarded(host);
  return { host, port, token, allow, blockedAfter };
}

/** @param {unknown} path */
function pathOf(path) {
  if (path === undefined) return undefined;
  if (typeof path !== 'string') throw errors.invalidArgType('options.path', 'of type string', path);
  if (path === '' || path.includes('\0')) throw errors.invalidArgValue('options.path', path);
  return path;
}

/** @param {unknown} token */
function tokenOf(token) {
  if (token === undefined) return undefined;
  if (typeof token !== 'string') throw errors.invalidArgType('options.token', 'of type string', token);
  // An empty one is as a rule a variable of the environment that is not set. The text must not have it in it.
  if (!TOKEN.test(token)) {
    const why = 'must be of visible ASCII characters, one at least';
    throw errors.create(TypeError, 'ERR_INVALID_ARG_VALUE', `The property 'options.token' ${why}`);
  }
  return token;
}

/** @param {unknown} allow */
function allowOf(allow) {
  if (allow === undefined) return undefined;
  if (!Array.isArray(allow)) throw errors.invalidArgType('options.allow', 'an instance of Array', allow);
  for (const entry of allow) {
    if (typeof entry !== 'string') throw errors.invalidArgType('options.allow', 'of strings', entry);
  }
  return allow;
}

/** @param {unknown} host @returns {string} an IP address */
function hostOf(host = DEFAULT_HOST) {
  if (typeof host !== 'string') throw errors.invalidArgType('options.host', 'of type string', host);
  if (host === 'localhost') return DEFAULT_HOST;
  if (net.isIP(host) === 0 || host.includes('%')) {
    throw errors.invalidArgValue('options.host', host, "must be an IP address or 'localhost'");
  }
  return host;
}

/** @param {string} host an IP address */
function isLoopback(host) {
  return LOOPBACK.check(host, net.isIPv6(host) ? 'ipv6' : 'ipv4');
}

const LOOPBACK = new net.BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8);
LOOPBACK.addAddress('::1', 'ipv6');

module.exports = { settingsOf };
