'use strict';

// One connection to the engine: a socket, of which frames come.

const net = require('node:net');
const { FrameCutter } = require('./frames');

/**
 * What the client needs of an engine.
 * @typedef {object} Engine
 * @property {string} [name] what it is called for whoever observes this process; one without is not shown
 * @property {() => number | Promise<number>} [connect] gives the descriptor of another connection, for the same
 * @property {() => Promise<number>} open a connection, which speaks the protocol: its descriptor; it may fail, and is tried again
 * @property {() => void} release the client needs it no more
 * @property {() => void} renounce the engine has said that it cannot serve: another one, or the same anew, may be able to
 */

/** How many bytes are read at once, all into the same memory. */
const READ_AT_ONCE = 64 * 1024;

/**
 * @param {number} fd which is the socket's from then on
 * @param {(from: import('./frames').FrameReader) => void} onFrame called for each frame, until the socket is destroyed
 * @param {(error: Error) => void} onError what is wrong with it; 'close' of the socket follows
 * @returns {net.Socket}
 */
function connectionOf(fd, onFrame, onError) {
  const cutter = new FrameCutter((from) => {
    // A frame may end the connection.
    if (socket.destroyed) return false;
    onFrame(from);
    return true;
  });
  const callback = (/** @type {number} */ count, /** @type {any} */ bytes) => {
    try {
      cutter.push(bytes, count);
    } catch (error) {
      onError(/** @type {Error} */ (error));
      socket.destroy();
    }
    return true;
  };
  const onread = { buffer: Buffer.allocUnsafeSlow(READ_AT_ONCE), callback };
  const socket = new net.Socket(/** @type {any} */ ({ fd, readable: true, writable: true, onread }));
  socket.on('error', onError);
  return socket;
}

module.exports = { connectionOf };
