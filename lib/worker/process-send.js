'use strict';

// In a worker: `process.send` and `process.disconnect` as Node's cluster and the program call them. What Node's own crashes on gets the error that
// any other unsendable handle gets, and what Node's cluster says of a connection from the lane goes no further.

const net = require('node:net');
const os = require('node:os');

const errors = require('../errors');
const { refuseWrapped } = require('../channel/handles');
const { isDescriptor } = require('../util/descriptor');
const { closeLane, endLane, interceptDecision } = require('./lane');
const { hasLostChannel, hasPrimaryGone, isLeaving, onChannelEnd } = require('./leaving');
const { handleOf } = require('../node-internals');
const { CLUSTER } = require('../protocol');
const { interceptQuery } = require('./reuse-port');

/** Once per process. */
function wrapChannel() {
  wrapSend();
  const original = /** @type {Function} */ (process.disconnect);
  if (original === undefined) return;
  process.disconnect = /** @this {any} */ function disconnect() {
    if (process.connected) onChannelEnd();
    // The primary has gone while this worker's last connections ended: Node's cluster would close the channel once more, which is
    // an error that nobody can expect.
    else if (isLeaving() && hasPrimaryGone()) return;
    endLane(/** @type {any} */ (process.channel)?.fd);
    original.call(this);
  };
}

function wrapSend() {
  const original = /** @type {Function} */ (process.send);
  if (original === undefined) return;
  process.send =
    /**
     * @this {any}
     * @param {any} message
     * @param {any} [handle]
     * @param {any} [options]
     * @param {any} [callback]
     */
    function send(message, handle, options, callback) {
      if (interceptDecision(message) || interceptQuery(message)) return true;
      if (message?.cmd === CLUSTER && (hasLostChannel() || (isLeaving() && !process.connected))) return true;
      // Its servers are closed by now: what is still in the lane is for others.
      if (message?.act === 'exitedAfterDisconnect' && message.cmd === CLUSTER) closeLane();
      // Node's own takes what is beneath for one of libuv's, or crashes.
      refuseWrapped(handle);
      if (isConnecting(handle) && process.connected && message !== undefined) {
        if (!options?.swallowErrors) refuse(typeof options === 'function' ? options : callback);
        return true;
      }
      // What Node's cluster tells a primary that dies meanwhile is for nobody: 'disconnect' says that it has.
      if (message?.cmd === CLUSTER && isLeaving()) options = { ...options, swallowErrors: true };
      return original.call(this, message, handle, options, callback);
    };
}

/**
 * A socket without a descriptor, which Node's own would take from its owner, which is about to connect it.
 *
 * @param {any} handle
 */
function isConnecting(handle) {
  const raw = handle instanceof net.Socket ? handleOf(handle) : undefined;
  // What waits behind another handle may have one when its turn comes.
  return raw !== undefined && !isDescriptor(raw.fd) && !(/** @type {any} */ (process)._handleQueue);
}

/** @param {unknown} callback of a message that cannot be sent */
function refuse(callback) {
  const error = errors.errnoException(-os.constants.errno.EBADF, 'write');
  /** @type {any} */
  const target = process;
  process.nextTick(() => {
    if (typeof callback === 'function') callback(error);
    else target.emit('error', error);
  });
}

module.exports = { wrapChannel };
