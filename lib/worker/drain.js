'use strict';

// In a worker that leaves by a deadline: what is under way is finished, and what is not by then is closed. Node's own half has closed
// the servers, and their idle kept connections with them, unless these are to be quiet for some time first; it waits for the others
// for ever.
//
//   until the deadline  answers of HTTP/1.1 say `Connection: close`; a connection whose answer could not say so any more is closed
//                       behind it, or when it has been quiet; sessions of http2 take no new streams
//   at the deadline     every connection that a server of this process has accepted is destroyed, upgraded ones among them, and a server
//                       that still listens, because the cluster does not know it, is closed
//
// Nothing is noted of connections before.

const diagnostics = require('node:diagnostics_channel');
const net = require('node:net');
// Not the global ones: a program's tests put a clock of their own in their place.
const { clearTimeout, setImmediate, setTimeout } = require('node:timers');

const {
  acceptedSockets,
  activeHandles,
  currentResponse,
  httpSockets,
  isAccepted,
} = require('./http-connection');
const { openSessions } = require('./http2-sessions');
const { IdleConnections } = require('./idle-connections');

/** When this worker is to be done, by `performance.now()`. */
let deadline = Number.POSITIVE_INFINITY;
/** @type {NodeJS.Timeout | undefined} */
let timer;
/** Servers of which a response was finished in this turn. @type {Set<any>} */
const answered = new Set();
/** Kept connections without a request, if they are to stay for a while. @type {IdleConnections | undefined} */
let idleConnections;

/**
 * Begins to drain, or brings the deadline forward.
 *
 * @param {import('../util/drain').Drain} milliseconds from now
 */
function drainWithin({ drain: milliseconds, idle }) {
  if (deadline === Number.POSITIVE_INFINITY) begin(idle);
  else idleConnections?.shorten(idle);
  const end = performance.now() + milliseconds;
  if (end >= deadline) return;
  deadline = end;
  clearTimeout(timer);
  // What it is for keeps the process alive.
  timer = setTimeout(closeAll, milliseconds).unref();
}

/** @param {number} idle in milliseconds */
function begin(idle) {
  if (idle > 0) idleConnections = new IdleConnections(idle);
  diagnostics.subscribe('http.server.request.start', onRequest);
  diagnostics.subscribe('http.server.response.finish', onFinish);
  for (const server of new Set(acceptedSockets().map(({ server }) => server))) {
    for (const socket of httpSockets(server)) sayClose(currentResponse(socket));
  }
  for (const session of openSessions()) session.close();
}

/** Node closes the servers of this process next. */
function beforeClose() {
  idleConnections?.spare();
}

/** @param {any} response */
function sayClose(response) {
  if (response !== undefined && !response.headersSent) response.setHeader('Connection', 'close');
}

/** @param {any} event a request has come: in front of the program's listeners */
function onRequest({ response }) {
  sayClose(response);
}

/** @param {any} event a response was written */
function onFinish({ server, socket }) {
  if (idleConnections !== undefined) return idleConnections.answered(socket);
  if (answered.size === 0) setImmediate(closeAnswered);
  answered.add(server);
}

/** Closes connections that were told to be kept before this worker was to leave. */
function closeAnswered() {
  const servers = [...answered];
  answered.clear();
  // A program may have Node's HTTP on a server that is none of HTTP's: its connections stay until the deadline.
  for (const server of servers) server.closeIdleConnections?.();
}

function closeAll() {
  for (const handle of activeHandles()) {
    if (handle instanceof net.Server) handle.close();
    else if (isAccepted(handle)) handle.destroy();
  }
}

module.exports = { beforeClose, drainWithin };
