'use strict';

// A worker of bench/reuseport.js, which knows nothing of corral. With `net` it speaks first, so that its clients can tell
// what became of them: one that is reset was never accepted.

const http = require('node:http');
const net = require('node:net');

/** @type {{ protocol: string, reusePort: boolean, port: number }} */
const { protocol, reusePort, port } = JSON.parse(/** @type {string} */ (process.argv[2]));

const server =
  protocol === 'net'
    ? net.createServer((socket) => {
        socket.on('error', () => {});
        socket.end('hello\n');
      })
    : http.createServer((_request, response) => response.end('hello\n'));

/** @type {any} not in all types */
const where = { port, host: '127.0.0.1', ...(reusePort && { reusePort }) };
server.listen(where, () => process.send?.('serves'));

// Waiting, and not computing: a core less would be in everybody's times.
process.on('message', (/** @type {{ block: number }} */ { block }) => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, block);
});
process.on('SIGINT', () => {});
