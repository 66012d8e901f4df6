'use strict';

// Sends what you type to the echo server and prints what comes back. Run it with
//
//   node examples/echo-client.js          (PORT=3000 for another port than 8000)
//   node examples/echo-client.js <file    for the whole of a file
//
// Ctrl-D ends it once everything is back. When there is no server, or it goes away, it says so and ends with code 1.

const net = require('corral/net');

const DEFAULT_PORT = 8000;

const port = Number(process.env.PORT ?? DEFAULT_PORT);

/** @param {string} reason */
function fail(reason) {
  console.error(reason);
  process.exitCode = 1;
}

const socket = net.connect(port, 'localhost');
process.stdin.pipe(socket);
socket.pipe(process.stdout);

socket.on('end', () => {
  if (!process.stdin.readableEnded) fail('the server has gone');
});
// By its code: the message is empty when localhost has two addresses and both failed.
socket.on('error', (/** @type {NodeJS.ErrnoException} */ { code }) => fail(`port ${port}: ${code}`));
