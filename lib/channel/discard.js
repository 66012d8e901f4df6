'use strict';

const EventEmitter = require('node:events');
const fs = require('node:fs');
const net = require('node:net');

/**
 * Closes a handle that arrived and that nobody wants. Its errors go to nobody either.
 *
 * @param {any} handle
 */
function discard(handle) {
  if (handle instanceof EventEmitter) handle.on('error', () => {});
  try {
    if (typeof handle === 'number') fs.closeSync(handle);
    else if (handle instanceof net.Socket) handle.destroy();
    else handle.close();
  } catch {
    // Closed already.
  }
}

module.exports = { discard };
