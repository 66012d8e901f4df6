'use strict';

// What `child_process.fork` puts on a ChildProcess: `send`, `disconnect`, `connected` and `channel`. Node's own halves are
// called `_send` and `_disconnect`, and so are these, as Node's cluster and programs call them.

const errors = require('../errors');

/** @typedef {import('./channel').Channel} Channel */
/** @typedef {import('./channel').SendCallback} SendCallback */
/** @typedef {import('./channel').SendOptions} SendOptions */
/** @typedef {import('./channel').Target} Target */

/**
 * @param {Target} target
 * @param {Channel} channel
 * @param {import('./control').Control} control
 * @param {boolean} isConnected
 */
function addSurface(target, channel, control, isConnected) {
  target.channel = control;
  target.connected = isConnected;
  target._handleQueue = isConnected ? null : [];
  target._pendingMessage = null;

  target.send = function send(
    /** @type {any} */ message,
    /** @type {any} */ handle,
    /** @type {any} */ options,
    /** @type {any} */ callback,
  ) {
    if (typeof handle === 'function') {
      callback = handle;
      handle = undefined;
      options = undefined;
    } else if (typeof options === 'function') {
      callback = options;
      options = undefined;
    } else if (
      options !== undefined &&
      (options === null || typeof options !== 'object' || Array.isArray(options))
    ) {
      throw errors.invalidArgType('options', 'of type object', options);
    }
    if (this.connected || (this.connecting && !channel.isGivenUp))
      return this._send(message, handle, { swallowErrors: false, ...options }, callback);
    channel.writeQueue.fail(errors.channelClosed(), callback);
    return false;
  };

  addSend(target, channel);

  target.disconnect = /** @this {Target} */ function disconnect() {
    if (!this.connected) {
      if (this.connecting && !channel.isGivenUp) channel.giveUp();
      else this.emit('error', errors.disconnected());
      return;
    }
    // No new messages. What waits for a handle to be acknowledged is still sent.
    this.connected = false;
    if (!this._handleQueue) this._disconnect();
  };

  target._disconnect = () => channel.disconnect();
}

/**
 * What the target sends goes out on the channel from now on.
 *
 * @param {Target} target
 * @param {Channel} channel
 */
function addSend(target, channel) {
  target._send = (
    /** @type {any} */ message,
    /** @type {any} */ handle,
    /** @type {SendOptions | boolean | undefined} */ options,
    /** @type {SendCallback | undefined} */ callback,
  ) =>
    channel.send(
      message,
      handle,
      typeof options === 'boolean' ? { swallowErrors: options } : options,
      callback,
    );
}

module.exports = { addSend, addSurface };
