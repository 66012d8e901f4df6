'use strict';

// The server of the pair that everybody knows from node-ipc's README: it answers a message with message + ' world!'.
//
//   node examples/node-ipc/world.js &
//   node examples/node-ipc/hello.js
//
// They talk over a Unix socket, or over TCP with PORT=8000 in the environment of both.

const ipc = require('corral/node-ipc');

const { PORT, SOCKET_ROOT } = process.env;

ipc.config.id = 'world';
ipc.config.silent = true;
if (SOCKET_ROOT) ipc.config.socketRoot = SOCKET_ROOT;

function onStart() {
  console.log(`world listens on ${PORT ? `port ${ipc.server.port}` : ipc.server.path} (Ctrl-C stops)`);
}

if (PORT) ipc.serveNet(Number(PORT), onStart);
else ipc.serve(onStart);

ipc.server
  .on('message', (data, socket) => {
    console.log(`a client says: ${data}`);
    ipc.server.emit(socket, 'message', `${data} world!`);
  })
  .on('socket.disconnected', () => console.log('a client has left'))
  .on('error', (error) => {
    console.error(error.message);
    process.exitCode = 1;
  });

ipc.server.start();
