'use strict';

// In a worker: what `process.send` of Node's crashes on gets the error that any other unsendable handle gets.

const net = require('node:net');

const errors = require('./errors');
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
function guardSend() {
  const { send } = process;
  if (send === undefined) return;
  process.send = /** @type {any} */ (
    Object.defineProperties(
      /** @this {any} */
      function guarded(/** @type {any[]} */ ...args) {
        if (isHandleless(args[1])) throw errors.invalidHandleType();
        return Reflect.apply(/** @type {Function} */ (send), this, args);
      },
      { name: { value: send.name }, length: { value: send.length } },
    )
  );
}

module.exports = { guardSend };
