'use strict';

// Handles in messages: how each kind is taken apart for sending and put together on arrival (Node: handleConversion
// in internal/child_process).

const dgram = require('node:dgram');
const EventEmitter = require('node:events');
const net = require('node:net');

const errors = require('../errors');
const internals = require('../node-internals');
const { FILE_HANDLE, HANDLE, PEER_HANDLE } = require('../protocol');
const { isDescriptor } = require('../util/descriptor');
const { heldOf, release } = require('./held-handles');
const { isKey, leaveSocketList, socketListsOf } = require('./socket-list');

/** @typedef {import('./channel').Target} Target */
/** @typedef {import('../node-internals').RawHandle} RawHandle */

/** The `type` of a net.BoundSocket (Node 24.22, 26.12). */
const BOUND = 'net.BoundSocket';

/**
 * The `type` of a NODE_HANDLE message.
 *
 * @param {unknown} handle
 * @param {boolean} hasFiles whether files may be sent, which Node knows nothing of
 */
function typeOf(handle, hasFiles) {
  refuseWrapped(handle);
  if (handle instanceof net.Socket) return 'net.Socket';
  if (handle instanceof net.Server) return 'net.Server';
  if (handle instanceof dgram.Socket) return 'dgram.Socket';
  if (internals.isBoundSocket(handle)) {
    // A path's is for its process only, as Node has it.
    if (/** @type {any} */ (handle).isPipe) throw errors.invalidHandleType();
    internals.needTransferable(handle);
    return BOUND;
  }
  if (hasFiles && Number.isInteger(/** @type {any} */ (handle)?.fd) && !internals.isRawHandle(handle))
    return FILE_HANDLE;
  if (internals.isRawHandle(handle)) return handle.constructor.name === 'UDP' ? 'dgram.Native' : 'net.Native';
  throw errors.invalidHandleType();
}

/**
 * Throws if a socket or a server is more than the handle beneath it. The receiver would get the handle alone, and talk to the peer
 * without the other half.
 *
 * @param {any} handle
 */
function refuseWrapped(handle) {
  const isOwner = handle instanceof net.Socket || handle instanceof net.Server;
  if (isOwner && internals.isWrapped(handle)) throw errors.invalidHandleType();
}

/**
 * The message in which a handle goes, with all that the receiver has to know of it.
 *
 * @param {any} handle
 * @param {any} msg the program's
 * @param {boolean} hasFiles whether files may be sent
 * @returns {any}
 */
function describe(handle, msg, hasFiles) {
  /** @type {any} */
  const message = { cmd: HANDLE, type: typeOf(handle, hasFiles), msg };
  const server = message.type === 'net.Socket' ? internals.acceptedBy(handle) : undefined;
  if (server !== undefined) message.key = server.key;
  if (message.type === 'dgram.Socket') message.dgramType = handle.type;
  return message;
}

/**
 * Whether a handle is open and has nothing that could travel: a socket that is to be connected or bound may have no descriptor
 * yet.
 *
 * @param {any} message of `describe`
 * @param {any} handle
 */
function lacksDescriptor({ type }, handle) {
  if (type === BOUND) return false;
  const raw = rawHandleOf(type, handle);
  return raw !== undefined && !isDescriptor(raw.fd);
}

/**
 * @param {string} type of the message, any but BOUND
 * @param {any} handle
 * @returns {RawHandle | undefined} undefined for one that is closed or was handed over already
 */
function rawHandleOf(type, handle) {
  if (type === 'net.Socket' || type === 'net.Server') return internals.handleOf(handle);
  return type === 'dgram.Socket' ? internals.datagramHandleOf(handle) : handle;
}

/**
 * Takes a handle apart.
 *
 * @param {Target} target
 * @param {any} message of `describe`
 * @param {any} handle
 * @param {{ keepOpen?: boolean }} options
 * @returns {RawHandle | undefined} undefined for one that is closed or was handed over already
 */
function takeApart(target, message, handle, options) {
  switch (message.type) {
    case 'net.Socket':
      return takeSocketApart(target, handle, options);
    case BOUND:
      return internals.takeBoundSocketApart(handle);
    default:
      // Stays open here, and its owner's.
      return rawHandleOf(message.type, handle);
  }
}

/**
 * Whether this process closes the handle once it has been sent.
 *
 * @param {any} message of `describe`
 * @param {{ keepOpen?: boolean }} options
 */
function isGivenAway({ type }, { keepOpen }) {
  return type === BOUND || (type === 'net.Socket' && !keepOpen);
}

/**
 * @param {Target} target
 * @param {any} socket
 * @param {{ keepOpen?: boolean }} options
 */
function takeSocketApart(target, socket, { keepOpen }) {
  const handle = internals.handleOf(socket);
  if (handle === undefined) return undefined;
  const server = internals.acceptedBy(socket);
  if (server !== undefined) {
    socketListsOf(target).send(server.key, server.setUp);
    if (!keepOpen) server.forget();
  }
  if (!keepOpen) {
    leaveSocketList(socket);
    release(socket);
    internals.detachHandle(socket);
  }
  return handle;
}

/**
 * Puts together what arrived. Synchronous for every kind, so that the message keeps its place among the others.
 * Throws what cannot be put together; the descriptor is then still the caller's, unless the error is marked
 * `descriptorTaken`.
 *
 * @param {Target} target
 * @param {any} message the NODE_HANDLE message
 * @param {number} fd
 * @param {boolean} hasFiles whether files may be sent
 * @returns {any}
 */
function putTogether(target, message, fd, hasFiles) {
  const held = target === process ? undefined : heldOf(target);
  held?.checkRoom();
  const handle = fromDescriptor(target, message, fd, hasFiles);
  held?.add(handle);
  return handle;
}

/**
 * @param {Target} target
 * @param {any} message the NODE_HANDLE message
 * @param {number} fd
 * @param {boolean} hasFiles
 * @returns {any}
 */
function fromDescriptor(target, message, fd, hasFiles) {
  switch (message.type) {
    case 'net.Socket': {
      const { key } = message;
      if (key && !isKey(key)) throw new TypeError('unknown kind of key of a server');
      const socket = new net.Socket({ fd, readable: true, writable: true });
      if (key) socketListsOf(target).receive(key, socket);
      return socket;
    }
    case 'net.Server': {
      // Taken over first, so that it is clear who closes it: a handle that cannot listen is closed by Node.
      const server = internals.serverFrom(fd);
      if (!server.listening) {
        // The event comes later, and nobody listens. The exception ends the sender's channel.
        server.on('error', () => {});
        throw Object.assign(new Error('a net.Server that does not listen'), { descriptorTaken: true });
      }
      return server;
    }
    case 'net.Native':
      return internals.streamHandleFrom(fd);
    case 'dgram.Native':
      return internals.datagramHandleFrom(fd);
    case BOUND:
      return internals.boundSocketFrom(fd);
    case FILE_HANDLE:
      if (hasFiles) return fd;
      throw new TypeError('a file, where none may be sent');
    case PEER_HANDLE:
      if (target === process) return fd;
      throw new TypeError('a socket to another worker, in a process that is no worker');
    case 'dgram.Socket':
      // As the peer says: createSocket() takes options, too, some of which fail once the descriptor is taken.
      if (!['udp4', 'udp6'].includes(message.dgramType))
        throw new TypeError('unknown type of datagram socket');
      return internals.datagramFrom(message.dgramType, fd);
    default:
      throw new TypeError(`unknown type of handle: ${message.type}`);
  }
}

/**
 * Ignores the errors of a handle that arrived, until the program listens to it. The handle is live while its message waits for a
 * listener, and the listener may not care for handles.
 *
 * @param {any} handle
 */
function ignoreEarlyErrors(handle) {
  if (!(handle instanceof EventEmitter)) return;
  const ignore = () => {};
  const stop = () => {
    handle.removeListener('newListener', stop);
    handle.removeListener('error', ignore);
  };
  handle.on('error', ignore);
  handle.on('newListener', stop);
}

module.exports = {
  describe,
  ignoreEarlyErrors,
  isGivenAway,
  lacksDescriptor,
  putTogether,
  refuseWrapped,
  takeApart,
};
