'use strict';

// Where the queues are: a file, or the Redis that rsmq's options name, beside which it takes those of the client that it stands on,
// in an object `options` or not.

const path = require('node:path');
const { engineAt, placeOf } = require('../bus/redis');
const errors = require('../errors');

/** What names another server, or how it is reached: ignoring it would be another one. */
const UNSUPPORTED = ['prefix', 'sentinels', 'rootNodes'];

/** A host before another one is given. */
const NOBODY = 'nobody.invalid';

/** @param {any} client @returns {any} the options of a client that rsmq takes; it takes no other, and says nothing */
function optionsOf(client) {
  if (client?.constructor?.name !== 'RedisClient' || client.connection_options === undefined) {
    throw errors.invalidArgValue(
      'options.client',
      client,
      'must be a client of redis 2 or 3, as for rsmq; give its host, port and password instead',
    );
  }
  const { host, port, path: socket } = client.connection_options;
  const { password, auth_pass: other, user, tls, db } = client.options ?? {};
  return { host, port, path: socket, password: password ?? other, user, tls, db: client.selected_db ?? db };
}

/** @param {any} value */
const bytes = (value) => (value === undefined ? undefined : Buffer.from(value));

/** @param {any} given @returns {import('../bus/redis-binding').RedisPlace} */
function placeIn(given) {
  const { url, host = '127.0.0.1', port = 6379, path: socket, db, tls } = given;
  const password = given.password ?? given.auth_pass;
  const user = given.user ?? given.username;
  for (const name of UNSUPPORTED) {
    if (given[name] !== undefined)
      throw errors.invalidArgValue(`options.${name}`, given[name], 'is not supported');
  }
  if (url !== undefined) return placeOf(new URL(url));
  const server = new URL(socket === undefined ? `redis${tls ? 's' : ''}://${NOBODY}` : 'redis+unix:///x');
  if (socket === undefined) {
    // What a URL has no place for it leaves as it was.
    server.hostname = String(host).includes(':') ? `[${host}]` : host;
    if (server.hostname === NOBODY) throw errors.invalidArgValue('options.host', host, 'is no host');
    server.port = String(port);
    if (server.port !== String(port)) throw errors.invalidArgValue('options.port', port, 'is no port');
    if (user != null) server.username = encodeURIComponent(user);
    if (password != null) server.password = encodeURIComponent(password);
    if (db != null) server.pathname = `/${db}`;
  } else {
    server.pathname = path.resolve(socket);
    for (const [name, value] of Object.entries({ db, user, pass: password })) {
      if (value != null) server.searchParams.set(name, String(value));
    }
  }
  const place = placeOf(server);
  const { ca, cert, key } = typeof tls === 'object' && tls !== null ? tls : /** @type {any} */ ({});
  return { ...place, ca: bytes(ca), cert: bytes(cert), key: bytes(key), cluster: given.cluster === true };
}

/**
 * @param {any} given
 * @returns {{ engine: import('../bus/client').Engine, isEmbedded: boolean, ns: string, realtime: boolean }}
 */
function engineOf(given) {
  if (given === null || typeof given !== 'object') {
    throw errors.invalidArgType('options', 'of type object', given);
  }
  const { client, embedded, ns = 'rsmq', realtime = false } = given;
  if (typeof ns !== 'string') throw errors.invalidArgType('options.ns', 'of type string', ns);
  const about = { ns, realtime: Boolean(realtime), isEmbedded: embedded !== undefined };
  if (embedded !== undefined) {
    if (typeof embedded !== 'string') {
      throw errors.invalidArgType('options.embedded', 'of type string', embedded);
    }
    return { ...about, engine: require('../bus/embedded').fileEngine(path.resolve(embedded)) };
  }
  const options = client == null ? { ...given.options, ...given } : optionsOf(client);
  return { ...about, engine: engineAt(placeIn(options)) };
}

module.exports = { engineOf };
