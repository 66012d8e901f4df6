'use strict';

// In a worker: `process.send` and `process.disconnect` as Node's cluster and the program call them. What Node's own crashes on gets the error that
// any other unsendable handle gets, and what Node's cluster says of a connection from the lane goes no further.

const net = require('node:net');

const errors = require('./errors');
const { closeLane, endLane, hearDecision } = require('./lane');
const { handleOf, isRawHandle } = require('./node-internals');

/**
 * A server whose connections the primary accepts has no handle that could be sent: what stands in its place is a
 * plain object, and Node's own code takes it for one of libuv's.
 *
 * @param {any} handle
 */
function isHandleless(handle) {
  if (!(handle instanceof net.Server)) return false;
  const own = handleOf(handle);
  return own !== undefined && !isRawHandle(own);
}

/** Once per process. */
function guardChannel() {
  guardSend();
  const original = /** @type {Function} */ (process.disconnect);
  if (original === undefined) return;
  process.disconnect = /** @this {any} */ function disconnect() {
    endLane(/** @type {any} */ (process.channel)?.fd);
    original.call(this);
  };
}

function guardSend() {
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
      if (hearDecision(message)) return true;
      // Its servers are closed by now: what is still in the lane is for others.
      if (message?.act === 'exitedAfterDisconnect' && message.cmd === 'NODE_CLUSTER') closeLane();
      if (handle && isHandleless(handle)) throw errors.invalidHandleType();
      return original.call(this, message, handle, options, callback);
    };
}

module.exports = { guardChannel };
