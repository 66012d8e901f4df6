'use strict';

// A dispatch centre that hands over: it accepts clients and gives their connections to the workers that have registered
// with it, one each in turn. Run it with
//
//   node examples/dispatch-handover.js            (PORT=3000 for another port than 8000)
//   node examples/dispatch-handover.js worker     in other terminals, as many as you like
//   curl http://localhost:8000/some/words         in one more
//
// The same as dispatch-centre.js, and to its clients it looks the same, but what they say and what they get does not
// pass through the centre: it has nothing to read, nothing to wait for, and could end while the workers answer. For the
// same reason it cannot ask another worker when one has died: the clients of that one see their connections closed. Ctrl-C
// stops any of them.

const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const net = require('corral/net');

const DEFAULT_PORT = 8000;
const ADDRESS = path.join(os.tmpdir(), 'corral-dispatch-handover.sock');

function runCentre() {
  // Its connections are the workers, the longest there first.
  const registry = net.createServer({ ipc: true }, (worker) => {
    worker.once('message', ({ pid }) => console.log(`worker ${pid} has come`));
  });
  let turn = 0;

  // Paused, so that nothing of what the client says is read here.
  const clients = net.createServer({ pauseOnConnect: true }, (socket) => {
    // A client that does not wait for us.
    socket.on('error', () => {});
    const workers = [...registry.connections];
    if (workers.length === 0) {
      socket.end('HTTP/1.1 503 there is no worker\r\nConnection: close\r\n\r\n');
      return;
    }
    workers[turn++ % workers.length].send('client', socket, (error) => {
      // The worker has died just now.
      if (error) socket.destroy();
    });
  });

  registry.listen(ADDRESS, () => console.log(`workers: node ${path.relative('', __filename)} worker`));
  clients.listen(Number(process.env.PORT ?? DEFAULT_PORT), () => {
    const { port } = /** @type {net.AddressInfo} */ (clients.address());
    console.log(`clients: curl http://localhost:${port}/some/words`);
  });
  process.once('SIGINT', () => {
    clients.close();
    registry.close();
    for (const worker of registry.connections) worker.disconnect();
  });
}

function runWorker() {
  // It listens nowhere: its connections come from the centre.
  const server = http.createServer(({ url = '' }, response) => {
    console.log(url);
    response.setHeader('Connection', 'close');
    response.end(`worker ${process.pid}: ${url.toUpperCase()}\n`);
  });
  const centre = net.connect({ ipc: true, path: ADDRESS }, () => centre.send({ pid: process.pid }));
  // Gone is a client that did not wait, as well.
  centre.on('message', (_message, socket) => socket && server.emit('connection', socket));
}

if (process.argv[2] === 'worker') runWorker();
else runCentre();
