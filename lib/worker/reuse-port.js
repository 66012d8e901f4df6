'use strict';

// In a worker: servers and UDP sockets with `reusePort`. Node binds them in the worker itself and forgets them: the primary gets no
// 'listening', and nobody closes them when the worker disconnects. Here each is made one of the cluster's when it is bound, by
// giving Node's own half of the cluster the handle that it would have got from the primary. What follows is Node's.

const cluster = /** @type {any} */ (require('node:cluster'));
const diagnostics = require('node:diagnostics_channel');

const internals = require('../node-internals');
const { CLUSTER, TCP_REUSE_PORT, UDP_REUSE_PORT } = require('../protocol');

/** @typedef {import('../node-internals').RawHandle} RawHandle */
/**
 * What a worker says of a server when it asks for one, and when it listens.
 * @typedef {{ address: string | null, port: number, addressType: 4 | 6 | string, fd: number | undefined, flags: number }} Query
 */

/** Handles that Node's cluster is about to ask for, by the keys of their servers. @type {Map<string, RawHandle>} */
const offered = new Map();

/** The keys of this worker's servers: two may be alike, and Node's cluster ends a process with two of one key. @type {Set<string>} */
const keys = new Set();

/** @param {Query} query @returns {string} the same in all workers for the same address */
function keyOf({ address, port, addressType }) {
  const key = `${address}:${port}:${addressType}:reusePort`;
  let free = key;
  for (let number = 2; keys.has(free); number++) free = `${key}:${number}`;
  return free;
}

/**
 * Makes what has been bound one of the cluster's.
 *
 * @param {any} owner a net.Server or a dgram.Socket
 * @param {RawHandle} handle its own
 * @param {Query} query
 * @returns {() => void} reports to the primary that it listens
 */
function join(owner, handle, query) {
  const key = keyOf(query);
  keys.add(key);
  offered.set(key, handle);
  owner.once('close', () => {
    keys.delete(key);
    offered.delete(key);
  });
  let report = () => {};
  const listener = {
    once: (/** @type {string} */ _listening, /** @type {() => void} */ listening) => {
      report = listening;
    },
    address: () => owner.address(),
  };
  internals.askForServer(cluster, listener, { ...query, key });
  return report;
}

/**
 * Answers Node's cluster in the primary's place when it asks for what was bound here.
 *
 * @param {any} message that is about to be sent
 * @returns {boolean} whether that is what it is
 */
function interceptQuery(message) {
  if (offered.size === 0 || message?.act !== 'queryServer' || message.cmd !== CLUSTER) return false;
  const { key, seq } = message;
  const handle = offered.get(key);
  if (handle === undefined) return false;
  offered.delete(key);
  // @ts-expect-error Node's own event, which its types do not have
  process.emit('internalMessage', { cmd: CLUSTER, ack: seq, key, errno: 0, data: null }, handle);
  return true;
}

/** @returns {boolean} whether this worker is on its way out: what begins to listen now is closed by nobody */
function isLeaving() {
  return cluster.worker?.exitedAfterDisconnect === true;
}

/** @param {any} owner */
function closeSoon(owner) {
  // It is in the middle of being bound.
  process.nextTick(() => owner.close());
}

/** The `host` of servers that are about to listen. @type {WeakMap<object, unknown>} */
const hosts = new WeakMap();

/** @param {any} event */
function onListen({ server, options }) {
  // A worker that has left may do what it likes, as with the built-in.
  if (options?.reusePort === true && process.connected) hosts.set(server, options.host);
  else hosts.delete(server);
}

/** @param {any} event */
function onListening({ server }) {
  if (!hosts.has(server)) return;
  const isForAll = !hosts.get(server);
  hosts.delete(server);
  const handle = internals.handleOf(server);
  // Such as one on a path, for which `reusePort` means nothing.
  if (handle === undefined || internals.isOfCluster(handle)) return;
  if (isLeaving()) return closeSoon(server);
  const { address, family, port } = server.address();
  /** @type {Query} as Node says it of other servers */
  const query = {
    address: isForAll ? null : address,
    port,
    addressType: !isForAll && family === 'IPv6' ? 6 : 4,
    fd: undefined,
    flags: TCP_REUSE_PORT,
  };
  // Behind the program's callback.
  server.once('listening', join(server, handle, query));
}

/** @param {any} event */
function onListenError({ server }) {
  hosts.delete(server);
}

/** @param {any} event */
function onSocket({ socket }) {
  if (internals.reusesPort(socket)) socket.once('listening', () => onBound(socket));
}

/** @param {any} socket */
function onBound(socket) {
  const handle = internals.datagramHandleOf(socket);
  if (handle === undefined || !process.connected) return;
  if (isLeaving()) return closeSoon(socket);
  const { address, port } = socket.address();
  const report = join(socket, handle, {
    address,
    port,
    addressType: socket.type,
    fd: -1,
    flags: UDP_REUSE_PORT,
  });
  // Behind the program's callback.
  process.nextTick(report);
}

/** Once per process. */
function watchReusePort() {
  diagnostics.subscribe('tracing:net.server.listen:asyncStart', onListen);
  diagnostics.subscribe('tracing:net.server.listen:asyncEnd', onListening);
  diagnostics.subscribe('tracing:net.server.listen:error', onListenError);
  diagnostics.subscribe('udp.socket', onSocket);
}

module.exports = { interceptQuery, watchReusePort };
