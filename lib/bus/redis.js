'use strict';

// The engine in Redis or Valkey: which server a URL means, and a connection to the thread that speaks to it.

const fs = require('node:fs');
const errors = require('../errors');

/** @typedef {import('./redis-binding').RedisPlace} RedisPlace */

/** What keys begin with if the URL does not say so. */
const DEFAULT_PREFIX = 'corral';

/** The schemes of URLs of servers. */
const SCHEMES = ['redis:', 'rediss:', 'redis+unix:', 'valkey:', 'valkeys:', 'valkey+unix:'];

/** What belongs to the socket's URL, and goes to the client as it is. */
const OF_SOCKETS = ['db', 'user', 'pass'];

function addon() {
  // Only who has such a URL loads it.
  const { native, reason } = require('./redis-native');
  if (native === undefined) throw errors.noCore('corral/bus', reason);
  return native;
}

/** @param {URL} url @param {string} name @returns {string | undefined} that parameter, which may be there once */
function single(url, name) {
  const [value, another] = url.searchParams.getAll(name);
  if (another !== undefined) throw errors.invalidArgValue('url', name, 'may be there once');
  return value;
}

/** @param {URL} url @param {string} name @returns {Buffer | undefined} the file that the parameter names */
function fileOf(url, name) {
  const path = single(url, name);
  return path === undefined ? undefined : fs.readFileSync(path);
}

/** @param {URL} url without what is not the client's @param {string} [node] `host:port` of another one */
function serverUrl(url, node = undefined) {
  const server = new URL(url);
  for (const name of [...server.searchParams.keys()]) {
    const isItsOwn = url.protocol.endsWith('+unix:') && OF_SOCKETS.includes(name);
    if (!isItsOwn) server.searchParams.delete(name);
  }
  if (node !== undefined) {
    const before = server.host;
    server.host = node;
    if (server.host === before && node !== before)
      throw errors.invalidArgValue('url', node, 'is no host:port');
  }
  return server.href;
}

/**
 * @param {URL} url
 * @returns {RedisPlace}
 */
function placeOf(url) {
  const isSocket = url.protocol.endsWith('+unix:');
  const known = [
    'prefix',
    'cluster',
    'sentinel',
    'node',
    'ca',
    'cert',
    'key',
    ...(isSocket ? OF_SOCKETS : []),
  ];
  for (const name of url.searchParams.keys()) {
    if (!known.includes(name)) throw errors.invalidArgValue('url', name, `knows only ${known.join(', ')}`);
  }
  const prefix = single(url, 'prefix') ?? DEFAULT_PREFIX;
  if (prefix === '' || /[{}]/.test(prefix)) {
    throw errors.invalidArgValue('url', prefix, 'has a prefix that is empty or has braces');
  }
  const cluster = single(url, 'cluster') ?? 'false';
  if (!['true', 'false'].includes(cluster)) {
    throw errors.invalidArgValue('url', cluster, 'says neither true nor false of cluster');
  }
  const [cert, key] = [fileOf(url, 'cert'), fileOf(url, 'key')];
  if ((cert === undefined) !== (key === undefined)) {
    throw errors.invalidArgValue(
      'url',
      withoutSecrets(url),
      'has one of cert and key, which belong together',
    );
  }
  return {
    urls: [serverUrl(url), ...url.searchParams.getAll('node').map((node) => serverUrl(url, node))],
    cluster: cluster === 'true',
    sentinel: single(url, 'sentinel'),
    prefix,
    ca: fileOf(url, 'ca'),
    cert,
    key,
  };
}

/**
 * @param {URL} url
 * @returns {import('./client').Engine}
 */
const redisEngine = (url) => engineAt(placeOf(url), nameOf(url));

/** @param {unknown} url @returns {string} as an error may show it */
const withoutSecrets = (url) =>
  String(url)
    .replace(/:\/\/.*@/, '://…@')
    .replace(/([?&]pass=)[^&]*/g, '$1…');

/** @param {URL} url @returns {string} the same without what is nobody's business */
function nameOf(url) {
  const prefix = single(url, 'prefix') ?? DEFAULT_PREFIX;
  const db = single(url, 'db');
  const more = new URLSearchParams({ ...(db && { db }), ...(prefix !== DEFAULT_PREFIX && { prefix }) });
  return `${url.protocol}//${url.host}${url.pathname}${more.size > 0 ? `?${more}` : ''}`;
}

/**
 * @param {RedisPlace} place
 * @param {string} [name] what the engine is called for whoever observes; without one it is not shown
 * @returns {import('./client').Engine}
 */
function engineAt(place, name) {
  const binding = addon();
  const connect = () => binding.connectRedis(place);
  return {
    name,
    connect,
    open: async () => connect(),
    release() {},
    renounce() {},
  };
}

module.exports = { SCHEMES, engineAt, nameOf, placeOf, redisEngine, withoutSecrets };
