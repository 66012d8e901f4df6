'use strict';

// Errors of messages from the other side, and of sending to it.

const util = require('node:util');

const { create } = require('../errors');

/** @param {number} limit */
function tooLarge(limit) {
  const text = `A message is larger than config.maxMessageSize (${limit} bytes)`;
  return create(Error, 'ERR_CORRAL_MESSAGE_TOO_LARGE', text);
}

/**
 * @param {string} why
 * @param {string} response the text that came; the names of these two are node-ipc's
 * @param {unknown} [err]
 */
function badMessage(why, response, err) {
  const error = create(Error, 'ERR_CORRAL_BAD_MESSAGE', `A message ${why}`);
  return Object.assign(error, { response, err: err ?? error, count: 1 });
}

/**
 * @param {any} first of them, as `badMessage` has it
 * @param {number} count of messages in a row that are none
 */
function badMessages(first, count) {
  if (count > 1) first.message += `, and ${count - 1} more behind it are no messages either`;
  return Object.assign(first, { count });
}

/** @param {number} count of datagrams */
function dropped(count) {
  const text = `Datagrams came faster than they are taken: ${count} of them are lost`;
  return Object.assign(create(Error, 'ERR_CORRAL_QUEUE_FULL', text), { count });
}

/** @param {unknown} whom the id that the other side has given: it may be anything */
function notConnected(whom) {
  return create(Error, 'ERR_STREAM_DESTROYED', `A message was lost: no connection to ${util.inspect(whom)}`);
}

module.exports = { badMessage, badMessages, dropped, notConnected, tooLarge };
