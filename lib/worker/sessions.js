'use strict';

// Sessions that this worker begins (SCHED_STICKY). The primary is told of each before the client learns its id, so that every
// further connection of the session comes here. How requests name sessions, the primary has said on the lane; the ids are in
// what this worker answers, and nothing of the program has to change for it:
//
//   cookie, header   in a header of the response of the same name
//   query            in the first packet of engine.io, on which socket.io rests; other programs call `cluster.bindSession`

const diagnostics = require('node:diagnostics_channel');

const errors = require('../errors');
const { limits } = require('../limits');

/** @typedef {{ kind: string, name: string }} Source */

/** Of what a response to the first request of engine.io's long polling begins with, in every version of its protocol. */
const OPEN_PACKET = /"sid\\?":\\?"([^"\\]+)/;
/** Within so many characters. */
const PACKET_START = 64;

/** @type {import('../../binding').NativeLane | undefined} */
let lane;
/** @type {Source[]} */
let sources = [];
let isWatching = false;
let hasWarned = false;

/**
 * The primary has said what names sessions in requests.
 *
 * @param {import('../../binding').NativeLane} of
 * @param {string} names one a line; empty if nothing does any more
 */
function nameSessions(of, names) {
  lane = of;
  sources = (names === '' ? [] : names.split('\n')).map((line) => {
    const space = line.indexOf(' ');
    return { kind: line.slice(0, space), name: line.slice(space + 1) };
  });
  const watches = sources.length > 0;
  if (isWatching === watches) return;
  isWatching = watches;
  if (watches) diagnostics.subscribe('http.server.request.start', onRequest);
  else diagnostics.unsubscribe('http.server.request.start', onRequest);
}

/** @param {unknown} event */
function onRequest(event) {
  const { request, response } = /** @type {any} */ (event);
  let inHeaders = false;
  for (const { kind, name } of sources) {
    if (kind !== 'query') inHeaders = true;
    else if (name === 'sid' && beginsPolling(request.url)) watchBody(response);
  }
  if (inHeaders) watchHeaders(request, response);
}

/** @param {string} url of a request @returns {boolean} whether engine.io's long polling begins with it */
function beginsPolling(url) {
  return url.includes('transport=polling') && !/[?&]sid=/.test(url);
}

/** @param {any} response the first that is written to it may be engine.io's first packet */
function watchBody(response) {
  const { end, write } = response;
  const look = (/** @type {unknown} */ chunk) => {
    response.end = end;
    response.write = write;
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) return;
    const start =
      typeof chunk === 'string'
        ? chunk.slice(0, PACKET_START)
        : Buffer.from(chunk.subarray(0, PACKET_START)).toString('latin1');
    const [, id] = OPEN_PACKET.exec(start) ?? [];
    if (id !== undefined) begin(id);
  };
  response.end = (/** @type {any[]} */ ...args) => {
    look(args[0]);
    return response.end(...args);
  };
  response.write = (/** @type {any[]} */ ...args) => {
    look(args[0]);
    return response.write(...args);
  };
}

/**
 * @param {any} request
 * @param {any} response whose headers may name a session
 */
function watchHeaders(request, response) {
  const { writeHead } = response;
  response.writeHead = (/** @type {any[]} */ ...args) => {
    response.writeHead = writeHead;
    const headers = args.find((argument) => typeof argument === 'object' && argument !== null);
    for (const { kind, name } of sources) {
      if (kind === 'header') {
        const [id] = valuesOf(response, headers, name);
        if (id !== undefined && id !== request.headers[name.toLowerCase()]) begin(id);
      } else if (kind === 'cookie') {
        const id = cookieOf(valuesOf(response, headers, 'set-cookie'), name);
        if (id && id !== cookieOf((request.headers.cookie ?? '').split(';'), name)) begin(id);
      }
    }
    return response.writeHead(...args);
  };
}

/**
 * The values of a header of a response that is about to be written.
 *
 * @param {any} response
 * @param {any} headers those that `writeHead` was given: an object, or an array of names and values
 * @param {string} name
 * @returns {string[]}
 */
function valuesOf(response, headers, name) {
  const wanted = name.toLowerCase();
  const pairs = Array.isArray(headers) ? pairsOf(headers) : Object.entries(headers ?? {});
  const given = pairs.filter(([known]) => `${known}`.toLowerCase() === wanted).map(([, value]) => value);
  const values = given.length > 0 ? given : [response.getHeader(name) ?? []];
  return values.flat().map((/** @type {unknown} */ value) => `${value}`);
}

/** @param {any[]} list of names and values, or of pairs @returns {[any, any][]} */
function pairsOf(list) {
  if (Array.isArray(list[0])) return list;
  return list.flatMap((name, index) =>
    index % 2 === 0 ? [/** @type {[any, any]} */ ([name, list[index + 1]])] : [],
  );
}

/**
 * @param {string[]} pairs as they are in `Cookie`, or with attributes behind them in `Set-Cookie`
 * @param {string} name
 * @returns {string | undefined} the value of the first cookie of that name
 */
function cookieOf(pairs, name) {
  for (const pair of pairs) {
    const [whole] = pair.split(';', 1);
    const equals = whole.indexOf('=');
    if (equals > 0 && whole.slice(0, equals).trim() === name) return whole.slice(equals + 1).trim();
  }
  return undefined;
}

/**
 * @param {string} id of a session that this worker begins
 * @returns {boolean} whether the primary is told
 */
function begin(id) {
  if (lane === undefined) return false;
  const { length } = Buffer.from(id);
  // What is too long to be told is known by its hash: it goes where that says.
  if (length === 0 || length > limits().MAX_SESSION_ID) return false;
  if (lane.beginSession(id)) return true;
  if (!hasWarned) {
    hasWarned = true;
    process.emitWarning(
      'the primary does not read which sessions this worker begins: their clients may go to other workers',
      {
        code: 'CORRAL_SESSIONS_UNREAD',
      },
    );
  }
  return false;
}

/**
 * `cluster.bindSession`: the clients that name this session belong to this worker.
 *
 * @param {string} id
 */
function bindSession(id) {
  if (typeof id !== 'string') throw errors.invalidArgType('id', 'of type string', id);
  const { length } = Buffer.from(id);
  const most = limits().MAX_SESSION_ID;
  if (length === 0 || length > most) throw errors.outOfRange('id', `1 to ${most} bytes long`, id);
  return begin(id);
}

module.exports = { bindSession, nameSessions };
