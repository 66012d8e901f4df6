'use strict';

// The servers that the programs' clients (clients.js) expect.

const net = require('node:net');

/**
 * A server that tells each client one line and closes. Not listening yet.
 *
 * @param {string | number} line
 */
function answering(line) {
  return net.createServer((socket) => {
    // A client that was killed, or had enough, is no business of the server's.
    socket.on('error', () => {});
    socket.end(`${line}\n`);
  });
}

/**
 * A worker that tells its clients who it is.
 *
 * @param {{ cluster: any }} context
 * @param {any} [where] what `listen` takes
 */
function answerWithId({ cluster }, where = { port: 0, host: '127.0.0.1' }) {
  return answering(cluster.worker.id).listen(where);
}

module.exports = { answerWithId, answering };
