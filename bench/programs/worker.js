'use strict';

// A worker without a word about clusters: an HTTP server, or with `net` in its arguments a bare one.

const http = require('node:http');
const net = require('node:net');

let connections = 0;

/**
 * @param {number} milliseconds
 * @param {boolean} waits as for something synchronous, instead of computing
 */
function block(milliseconds, waits) {
  if (waits) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
    return;
  }
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

const server = process.argv.includes('net')
  ? net.createServer((socket) => {
      connections++;
      socket.on('error', () => {});
      socket.end('hello\n');
      socket.resume();
    })
  : http.createServer((request, response) => {
      connections++;
      const [way, milliseconds] = /** @type {string} */ (request.url).split('?');
      if (milliseconds) block(Number(milliseconds), way === '/wait');
      response.end('hello\n');
    });

server.listen(0, '127.0.0.1');

process.on('message', () => server.getConnections((_, open) => process.send?.({ connections, open })));
// The bench script decides when to stop, not the terminal's Ctrl-C.
process.on('SIGINT', () => {});
