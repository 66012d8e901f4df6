'use strict';

// The client of the pair; see world.js. It may be started first: it tries until the server is there.

const ipc = require('corral/node-ipc');

const { PORT, SOCKET_ROOT } = process.env;

ipc.config.id = 'hello';
ipc.config.silent = true;
ipc.config.retry = 200;
if (SOCKET_ROOT) ipc.config.socketRoot = SOCKET_ROOT;

/** Called before there is a connection. */
function onCreated() {
  const { world } = ipc.of;
  world.on('connect', () => world.emit('message', 'hello'));
  world.on('message', (data) => {
    console.log(`world says: ${data}`);
    ipc.disconnect('world');
  });
}

if (PORT) ipc.connectToNet('world', Number(PORT), onCreated);
else ipc.connectTo('world', onCreated);
