'use strict';

// The connections of this worker's servers as Node's own objects show them: which there are; of one of an `http.Server`, whether it
// is between two requests, and whether the program has taken hold of its socket. With lib/node-internals.js the one file that touches underscore
// properties of Node.

const http = require('node:http');
const net = require('node:net');

/** What a parser counts for the connection that it is for. */
const MESSAGES = Symbol('corral.messages');

/** @typedef {{ begun: number, answered: number }} Messages requests that the parser began to read, and that were answered */

/** @this {any} a parser, at the first byte of a request */
function onMessageBegin() {
  const messages = this[MESSAGES];
  if (messages !== undefined) messages.begun += 1;
}

/**
 * Begins to count the requests of a connection of which nothing has been read.
 *
 * @param {any} socket
 * @returns {Messages | undefined} undefined if the socket is read by something else than an HTTP/1.1 parser
 */
function countMessages(socket) {
  const parser = socket.parser;
  if (!(socket.server instanceof http.Server) || typeof parser?.constructor.kOnMessageBegin !== 'number')
    return undefined;
  const messages = { begun: 0, answered: 0 };
  // Node 20's parser says itself whether it is in a request.
  if (typeof parser.duration === 'function') return messages;
  parser[MESSAGES] = messages;
  parser[parser.constructor.kOnMessageBegin] = onMessageBegin;
  return messages;
}

/**
 * Whether the parser has read something of a request that was not answered.
 *
 * @param {any} parser
 * @param {Messages} messages
 */
function hasBegun(parser, messages) {
  return typeof parser.duration === 'function'
    ? parser.duration() !== 0
    : messages.begun !== messages.answered;
}

/**
 * How many listeners there are for each event that Node's own servers listen for on a socket. Each has its own name here,
 * which costs a fraction of a look-up by a variable: this is asked after each request.
 *
 * @param {any} events as an EventEmitter keeps them
 */
function countListeners({ close, data, drain, end, error, pause, resume, timeout }) {
  return {
    close: countOf(close),
    data: countOf(data),
    drain: countOf(drain),
    end: countOf(end),
    error: countOf(error),
    pause: countOf(pause),
    resume: countOf(resume),
    timeout: countOf(timeout),
  };
}

/** @param {Function | Function[] | undefined} listeners of one event, as an EventEmitter keeps them */
function countOf(listeners) {
  if (typeof listeners === 'function') return 1;
  return listeners === undefined ? 0 : listeners.length;
}

/** The listeners that an `http.Server` alone has on a socket, and the socket's properties with it. */
class Untouched {
  #listeners;
  #events;
  /** Events that no version of Node known so far listens for. @type {[string, number][]} */
  #others;
  /** @type {Set<string>} */
  #properties;
  /** How many properties a socket had that had none of the program's. */
  #usual = -1;

  constructor() {
    const server = new http.Server();
    const socket = new net.Socket();
    server.emit('connection', socket);
    const names = socket.eventNames().map(String);
    this.#events = names.length;
    this.#listeners = countListeners(/** @type {any} */ (socket)._events);
    const others = names.filter((name) => !(name in this.#listeners));
    this.#others = others.map((name) => [name, socket.listenerCount(name)]);
    // What Node adds while a connection is served.
    this.#properties = new Set([
      ...Object.keys(socket),
      'server',
      '_server',
      'parser',
      'timeout',
      '_httpMessage',
    ]);
    socket.destroy();
  }

  /**
   * Whether the program has neither a listener nor a property of its own on the socket.
   *
   * @param {any} socket
   */
  is(socket) {
    return socket._eventsCount === this.#events && this.#hasUsual(socket._events) && this.#isPlain(socket);
  }

  /** @param {any} events of a socket */
  #hasUsual(events) {
    const usual = this.#listeners;
    const { close, data, drain, end, error, pause, resume, timeout } = countListeners(events);
    return (
      close === usual.close &&
      data === usual.data &&
      drain === usual.drain &&
      end === usual.end &&
      error === usual.error &&
      pause === usual.pause &&
      resume === usual.resume &&
      timeout === usual.timeout &&
      this.#others.every(([name, count]) => countOf(events[name]) === count)
    );
  }

  /** @param {any} socket */
  #isPlain(socket) {
    const properties = Object.keys(socket);
    if (properties.length === this.#usual) return true;
    if (!properties.every((name) => this.#properties.has(name))) return false;
    this.#usual = properties.length;
    return true;
  }
}

/**
 * Whether a connection is between two requests, with nothing of either left to be read or written.
 *
 * @param {any} socket
 * @param {Messages} messages
 */
function isBetweenRequests(socket, messages) {
  return (
    !socket.destroyed &&
    (socket.parser ?? null) !== null &&
    !hasBegun(socket.parser, messages) &&
    socket.readable &&
    socket.writable &&
    socket.readableFlowing !== false &&
    socket.readableLength === 0 &&
    socket.writableLength === 0 &&
    (socket._httpMessage ?? null) === null
  );
}

/**
 * Whether a socket between two requests has the time-out that its server sets, and none of the program's.
 *
 * @param {any} socket
 * @param {any} server
 */
function hasTimeoutOf({ timeout = 0 }, { keepAliveTimeout, keepAliveTimeoutBuffer = 0, timeout: ofServer }) {
  if (!keepAliveTimeout) return timeout === ofServer;
  // Some versions of Node add a second, so that a client that is told the time-out may come a little late.
  const after = timeout - keepAliveTimeout;
  return after === 0 || after === 1000 || after === keepAliveTimeoutBuffer;
}

/**
 * @param {any} socket
 * @returns {http.ServerResponse | undefined} the one that is being written on it, or waits to be
 */
function currentResponse(socket) {
  return socket._httpMessage ?? undefined;
}

/** @param {any} socket @returns {any} its handle, if it has one */
function handleOfConnection(socket) {
  return socket._handle ?? undefined;
}

/** @returns {any[]} every net.Server and net.Socket that keeps this process alive, and others; beneath TLS the socket that carries it */
function activeHandles() {
  const { _getActiveHandles } = /** @type {any} */ (process);
  if (typeof _getActiveHandles !== 'function')
    throw new Error(
      `corral does not know this version of Node (${process.version}): process._getActiveHandles`,
    );
  return _getActiveHandles.call(process);
}

/** @returns {any[]} the sockets of connections that a server of this process has accepted; beneath TLS those that carry it */
function acceptedSockets() {
  return activeHandles().filter(isAccepted);
}

/** @param {any} handle @returns {boolean} whether it is the socket of a connection that a server of this process has accepted */
function isAccepted(handle) {
  return handle instanceof net.Socket && /** @type {any} */ (handle).server instanceof net.Server;
}

/**
 * @param {any} server
 * @returns {any} Node's list of its connections over HTTP/1.1; undefined if it is a server of another kind
 */
function connectionsOf(server) {
  const symbol = Object.getOwnPropertySymbols(server).find(
    ({ description }) => description === 'http.server.connections',
  );
  return symbol === undefined ? undefined : server[symbol];
}

/**
 * @param {any} server
 * @returns {any[]} the sockets that its `closeAllConnections` would destroy; none of a server that is not one of HTTP/1.1
 */
function httpSockets(server) {
  return socketsOf(connectionsOf(server)?.all() ?? []);
}

/**
 * @param {Set<any>} servers
 * @returns {Set<any>} the sockets of those that are servers of HTTP/1.1 on which nothing has come, or every request was answered
 */
function quietSockets(servers) {
  const ofHttp = [...servers].filter((server) => connectionsOf(server) !== undefined);
  // Node counts connections on which nothing has come among the active ones, and those without a handshake of TLS nowhere.
  const active = ofHttp.flatMap((server) => socketsOf(connectionsOf(server).active()));
  const accepted = acceptedSockets().filter(({ server }) => ofHttp.includes(server));
  const silent = [...active, ...accepted].filter(({ bytesRead }) => bytesRead === 0);
  const idle = ofHttp.flatMap((server) => socketsOf(connectionsOf(server).idle()));
  return new Set([...silent, ...idle.filter((socket) => currentResponse(socket) === undefined)]);
}

/** @param {{ socket?: any }[]} parsers */
function socketsOf(parsers) {
  return parsers.flatMap(({ socket }) => socket ?? []);
}

module.exports = {
  Untouched,
  acceptedSockets,
  activeHandles,
  countMessages,
  currentResponse,
  handleOfConnection,
  hasTimeoutOf,
  httpSockets,
  isAccepted,
  isBetweenRequests,
  quietSockets,
};
