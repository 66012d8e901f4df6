'use strict';

// Requests between a primary and its workers, and between workers: as on a channel over a named socket, on channels that
// have none of its own.

const { onChannelMessage, responderOf } = require('./names');
const { CHANNEL, JOIN, REPLY, REQUEST } = require('../protocol');
const { Requests } = require('./requests');

const COMMANDS = [REQUEST, REPLY];

/** Those of each target that has had any. @type {WeakMap<object, Requests>} */
const known = new WeakMap();

/**
 * @param {any} target a ChildProcess with a channel, `process`, or another worker
 * @param {object} self what a responder has as its `this`
 * @returns {Requests}
 */
function requestsOf(target, self) {
  let requests = known.get(target);
  if (requests === undefined) {
    const channel = {
      send: (/** @type {any[]} */ ...args) => target.send(...args),
      get connected() {
        return target.connected;
      },
      get connecting() {
        return target.connecting === true;
      },
    };
    requests = new Requests(channel, () => {}, self);
    requests.named = responderOf;
    // A worker's primary is trusted, and may ask as much as it likes.
    if (target === process) requests.maxUnread = Number.POSITIVE_INFINITY;
    known.set(target, requests);
    // In front of the program's listeners, whatever they throw.
    target.prependOnceListener('disconnect', () => requests?.onDisconnect());
  }
  return requests;
}

/**
 * The channel has ended, and its listeners for 'disconnect' were called: one that throws may have been in front of the one here.
 *
 * @param {any} target
 */
function endRequests(target) {
  known.get(target)?.onDisconnect();
}

/**
 * Takes an internal message, if it is a request or a reply, or is about a channel that has a name.
 *
 * @param {any} target
 * @param {object} self
 * @param {any} message
 * @param {any} handle
 * @param {(isRead: boolean) => void} [wantMessages] of the target, where this side may let it wait
 */
function takeRequest(target, self, message, handle, wantMessages = undefined) {
  if (message.cmd === CHANNEL || message.cmd === JOIN) return onChannelMessage(self, message, handle);
  if (!COMMANDS.includes(message.cmd)) return;
  const requests = requestsOf(target, self);
  if (wantMessages) requests.wantMessages = wantMessages;
  requests.onInternal(message, handle);
}

module.exports = { endRequests, takeRequest, requestsOf };
