'use strict';

// Kept connections of `http.Server`s, which rest between their requests: nobody reads them then, and the next request goes
// to a worker that is idle (`setupPrimary({ keepAlive: 'balance' })`). A connection that another worker has taken is a
// destroyed socket here, as if its client had closed it.
//
// Where clients belong to workers, this one leaves a request to the primary before it reads it, if it may be another worker's.
//
// A connection rests only if nothing of it is lost by that: it is between two requests, and the program has taken no hold
// of its socket.

/** @type {any} */
const cluster = require('node:cluster');
const diagnostics = require('node:diagnostics_channel');

const internals = require('../node-internals');
const { KEPT } = require('./kept-handle');

/**
 * @typedef {object} Connection
 * @property {any} socket
 * @property {any} handle
 * @property {any} server
 * @property {string} key of its server
 * @property {boolean} isPipe
 * @property {import('./http-connection').Messages} messages
 * @property {number} slot -1 until it has rested
 */

/** @type {import('../../binding').NativeLane} */
let lane;
/** @type {(slot: number) => void} */
let rest;
/** @type {typeof import('./http-connection')} */
let http;
/** @type {import('./http-connection').Untouched} */
let untouched;
/** The socket that Node has made last. @type {any} */
let newest;
/** By slot. @type {Map<number, Connection>} */
const resting = new Map();
let isOn = false;

/**
 * Connections rest from now on.
 *
 * @param {import('../../binding').NativeLane} of
 * @returns {string | undefined} why they cannot
 */
function beginRest(of) {
  lane = of;
  rest = lane.restFunction();
  http = require('./http-connection');
  untouched = new http.Untouched();
  diagnostics.channel('net.server.socket').subscribe(onSocket);
  diagnostics.channel('http.server.response.finish').subscribe(onFinish);
  isOn = true;
  return undefined;
}

/** @param {any} message */
function onSocket({ socket }) {
  newest = socket;
}

/**
 * A connection has come by the lane, and the program knows it.
 *
 * @param {string} key of its server
 * @param {boolean} isPipe
 * @param {any} handle
 */
function onConnection(key, isPipe, handle) {
  if (!isOn) return;
  const socket = newest;
  newest = undefined;
  if (socket === undefined || internals.handleOf(socket) !== handle) return;
  const messages = http.countMessages(socket);
  if (messages === undefined) return;
  handle[KEPT] = { socket, handle, server: socket.server, key, isPipe, messages, slot: -1 };
}

/** A response was written. @param {any} message */
function onFinish({ socket, request }) {
  const connection = /** @type {any} */ (internals.handleOf(socket))?.[KEPT];
  if (connection === undefined) return;
  connection.messages.answered += 1;
  // Node itself is not done with the response yet.
  if (request.complete) process.nextTick(restIfIdle, connection);
}

/** @param {Connection} connection */
function restIfIdle(connection) {
  const { socket, handle, messages } = connection;
  if (internals.handleOf(socket) !== handle || !http.isBetweenRequests(socket, messages)) return;
  if (!mayRest(connection)) return;
  if (connection.slot < 0) keep(connection);
  else rest(connection.slot);
}

/**
 * Whether another worker could serve the next request as well, as far as the program is concerned.
 *
 * @param {Connection} connection
 */
function mayRest({ socket, server }) {
  return (
    server.listening &&
    // This worker counts them.
    !(server.maxRequestsPerSocket > 0) &&
    // The program has the socket of what comes next.
    server.listenerCount('clientError') === 0 &&
    http.hasTimeoutOf(socket, server) &&
    untouched.is(socket)
  );
}

/**
 * Gives the primary a copy of a connection, which rests from now on.
 *
 * @param {Connection} connection
 */
function keep(connection) {
  const { handle, key, isPipe, server } = connection;
  const timeout = Math.min(Math.max(Math.ceil(server.keepAliveTimeout) || 0, 0), 2 ** 32 - 1);
  connection.slot = lane.keep(handle.fd, key, isPipe, timeout);
  if (connection.slot < 0) return;
  resting.set(connection.slot, connection);
  handle.close = closeHandle;
  handle.reset = resetHandle;
  handle.readStart = startReading;
}

/** @param {any} handle */
function release(handle) {
  const { slot } = handle[KEPT];
  delete handle.close;
  delete handle.reset;
  delete handle.readStart;
  handle[KEPT] = undefined;
  resting.delete(slot);
  if (cluster.worker?.exitedAfterDisconnect) lane.leave(slot);
  else lane.release(slot);
}

/** @this {any} @param {unknown[]} args */
function closeHandle(...args) {
  release(this);
  return this.close(...args);
}

/** @this {any} @param {unknown[]} args */
function resetHandle(...args) {
  release(this);
  return this.reset(...args);
}

/**
 * Something else than the client has Node read on.
 *
 * @this {any}
 */
function startReading() {
  if (!lane.claim(this[KEPT].slot)) return 0;
  return Object.getPrototypeOf(this).readStart.call(this);
}

/**
 * Another worker has a connection, or this one, which has left its next request to the primary, is to read it after all.
 *
 * @param {number} slot
 * @param {boolean} isOurs
 */
function onSettled(slot, isOurs) {
  const connection = resting.get(slot);
  if (connection === undefined) return;
  const { socket, handle } = connection;
  if (!isOurs) socket.destroy();
  // Its stream has stopped without Node's knowledge.
  else if (handle.reading) Object.getPrototypeOf(handle).readStart.call(handle);
}

module.exports = { beginRest, onConnection, onSettled };
