'use strict';

// A TCP server that sends back whatever it gets. Run it with
//
//   node examples/echo-server.js          (PORT=3000 for another port than 8000)
//   node examples/echo-client.js          in another terminal
//
// It prints its port, and a line for each client that comes and goes. Ctrl-C stops it as soon as the last client has
// gone; a second one stops it at once.

const net = require('corral/net');

const DEFAULT_PORT = 8000;

let clients = 0;

const server = net.createServer((socket) => {
  const name = `client ${++clients}`;
  console.log(`${name} has come`);
  // pipe() stops reading while the client does not read, and ends the answer when the client ends.
  socket.pipe(socket);
  // A client that crashed or was killed; its 'close' follows.
  socket.on('error', (error) => console.log(`${name}: ${error.message}`));
  socket.on('close', () => console.log(`${name} has gone after ${socket.bytesRead} bytes`));
});

server.listen(Number(process.env.PORT ?? DEFAULT_PORT), () => {
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  console.log(`echo on port ${port}`);
});

process.once('SIGINT', () => {
  server.close();
  console.log('no more clients');
});
