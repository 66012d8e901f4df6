'use strict';

// One message to several workers, as either side broadcasts it.

/**
 * @param {any[]} workers whose `send` takes a callback behind the message
 * @param {any} message
 * @param {(error: Error | null) => void} [callback] called when it has gone out to all, with the first error
 */
function sendToAll(workers, message, callback) {
  let left = workers.length;
  /** @type {Error | null} */
  let failure = null;
  if (left === 0 && callback) process.nextTick(callback, null);
  for (const worker of workers) {
    // With a callback in any case: that a worker goes meanwhile must not become an 'error' event.
    worker.send(message, (/** @type {Error | null} */ error) => {
      failure ??= error;
      if (--left === 0) callback?.(failure);
    });
  }
}

module.exports = { sendToAll };
