'use strict';

// The sessions of http2 of this worker's servers. Node's own `close` of such a server tells their clients nothing before version 24, and no
// public name leads from a socket to the session on it.

const diagnostics = require('node:diagnostics_channel');

const HTTP2 = /^Http2(Secure)?Server$/;

/** @type {Set<import('node:http2').Http2Session>} */
const sessions = new Set();
/** Those that are listened to. @type {WeakSet<object>} */
const known = new WeakSet();

/** @param {any} event a server is about to listen */
function onListen({ server }) {
  if (!HTTP2.test(server.constructor.name) || known.has(server)) return;
  known.add(server);
  server.on('session', onSession);
}

/** @param {import('node:http2').Http2Session} session */
function onSession(session) {
  sessions.add(session);
  session.once('close', () => sessions.delete(session));
}

function watchSessions() {
  diagnostics.subscribe('tracing:net.server.listen:asyncStart', onListen);
}

function openSessions() {
  return [...sessions];
}

module.exports = { openSessions, watchSessions };
