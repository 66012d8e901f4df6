'use strict';

/**
 * Emits an event from within something that is not the program's: what a listener throws is an uncaught exception, as elsewhere, and
 * does not end what has emitted it.
 *
 * @param {import('node:events').EventEmitter} emitter
 * @param {string} name
 * @param {unknown[]} values
 */
function tell(emitter, name, ...values) {
  try {
    emitter.emit(name, ...values);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}

module.exports = { tell };
