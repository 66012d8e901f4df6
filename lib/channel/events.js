'use strict';

// Events of the core that are a channel's own, for every kind of channel.

const errors = require('../errors');
const { inOwnTick } = require('./order');

/** @typedef {import('./channel').Channel} Channel */

/**
 * Passes an event on, each in a tick of its own, as Node passes on messages.
 *
 * @param {import('../native').Binding} binding
 * @param {Channel} channel
 * @param {number} kind
 * @param {any} first
 * @param {any} second
 * @returns {boolean} whether it was one
 */
function passOn({ EventKind }, channel, kind, first, second) {
  switch (kind) {
    case EventKind.Messages:
      channel.incoming.onMessages(first);
      return true;
    case EventKind.Message:
      channel.incoming.onMessage(first);
      return true;
    case EventKind.Attached:
      channel.incoming.onAttached(first, second);
      return true;
    case EventKind.HandleMessage:
      channel.onHandleMessage(first, second);
      return true;
    case EventKind.HandleArrived:
      inOwnTick(() => channel.onHandleArrived());
      return true;
    case EventKind.HandleLost:
      inOwnTick(() => channel.onHandleLost());
      return true;
    case EventKind.Written:
      inOwnTick(() => channel.writeQueue.onWritten(first, null));
      return true;
    case EventKind.Unwritten:
      inOwnTick(() => channel.writeQueue.onWritten(first, errors.channelClosed(), second));
      return true;
    default:
      return false;
  }
}

/**
 * Passes messages on that have come with nothing else.
 *
 * @param {import('../native').Binding} binding
 * @param {Channel | undefined} channel
 * @param {number} kind
 * @param {any} messages
 * @param {any} attachments
 */
function deliver(binding, channel, kind, messages, attachments) {
  channel?.origin.runInAsyncScope(passOn, null, binding, channel, kind, messages, attachments);
}

module.exports = { deliver, passOn };
