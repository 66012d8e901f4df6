'use strict';

// Named channels of this process: the ones that are open, and what comes for one of them. The names in messages are input from outside.
// A name for which there is no channel is nobody's: its messages go nowhere, and its requests are answered with ERR_CORRAL_NO_HANDLER.

const { discard } = require('./discard');
const { JOIN } = require('../protocol');

/**
 * What is known here of an open channel.
 * @typedef {import('node:events').EventEmitter & { responder: ((message: any, from: any) => any) | undefined }} Named
 */

/** The longest name, in UTF-16 units. */
const MAX_NAME = 256;
/** How many channels a process may have open, and how many names are kept of one worker. */
const MAX_CHANNELS = 1_024;

/** @type {Map<string, Named>} */
const open = new Map();

/** The names that a worker has open, as it says. @type {WeakMap<object, Set<string>>} */
const joined = new WeakMap();

/** @param {string} name */
function isName({ length }) {
  return length > 0 && length <= MAX_NAME;
}

/**
 * @param {unknown} name in a request
 * @returns {((message: any, from: any) => any) | undefined} who answers it
 */
function responderOf(name) {
  return open.get(/** @type {string} */ (name))?.responder;
}

/**
 * Takes a message to a channel, or about one.
 *
 * @param {any} from the worker, or the other worker, that has sent it
 * @param {any} message
 * @param {any} handle
 */
function onChannelMessage(from, message, handle) {
  if (handle !== undefined) discard(handle);
  if (message.cmd === JOIN) onJoin(from, message);
  else open.get(message.channel)?.emit('message', from, message.msg);
}

/**
 * @param {object} from
 * @param {{ channel: unknown, isOpen: unknown }} message
 */
function onJoin(from, { channel, isOpen }) {
  if (typeof channel !== 'string' || !isName(channel)) return;
  let names = joined.get(from);
  if (names === undefined) {
    names = new Set();
    joined.set(from, names);
  }
  if (isOpen !== true) names.delete(channel);
  // A worker of ours has no more.
  else if (names.size < MAX_CHANNELS) names.add(channel);
}

/**
 * @param {object} worker
 * @param {string} name
 * @returns {boolean} whether it has a channel of this name open
 */
function hasJoined(worker, name) {
  return joined.get(worker)?.has(name) === true;
}

module.exports = { MAX_CHANNELS, MAX_NAME, hasJoined, isName, onChannelMessage, open, responderOf };
