'use strict';

/** On a handle: the connection that `keep-alive.js` knows it as. */
const KEPT = Symbol('corral.kept');

/**
 * @param {any} handle of a connection that is between two requests
 * @returns {boolean} whether its next request may go to another worker
 */
function isResting(handle) {
  return handle?.[KEPT]?.slot >= 0;
}

module.exports = { KEPT, isResting };
