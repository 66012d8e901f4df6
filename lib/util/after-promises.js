'use strict';

/**
 * Calls back when everything told so far has been dealt with, by those who wait for it with promises too: as if the event loop had
 * come to it later, by itself. A tick alone comes before all promises.
 *
 * @param {() => void} callback
 */
function afterPromises(callback) {
  queueMicrotask(() => process.nextTick(callback));
}

module.exports = { afterPromises };
