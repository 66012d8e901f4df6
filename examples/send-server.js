'use strict';

// A listening server that is handed to other processes by `send`: each passes the connections it gets to an
// http.Server of its own. Run it with
//
//   node examples/send-server.js          (PORT=3000 for another port than 8000)
//
// Three processes get the server: two workers that corral forked and one plain child of child_process.fork.
// Each prints a line when it has it; then comes the URL, whose page says who answered. Which process gets a
// connection is the kernel's choice. Ctrl-C stops them all.

const { fork } = require('node:child_process');
const http = require('node:http');
const net = require('node:net');
const cluster = require('corral');

const DEFAULT_PORT = 8000;
const WORKERS = 2;
/** For so long a process may finish its requests when it is to stop. */
const DRAIN_MILLISECONDS = 5_000;

/** @typedef {import('node:child_process').ChildProcess | import('corral').Worker} Receiver */

/**
 * @param {Receiver} receiver
 * @param {net.Server} server
 * @returns {Promise<unknown>} settles when the other process says that it has the server
 */
function handOver(receiver, server) {
  const ready = new Promise((resolve) => receiver.once('message', resolve));
  receiver.send('server', server);
  return ready;
}

async function runPrimary() {
  const server = net.createServer();
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(Number(process.env.PORT ?? DEFAULT_PORT), () => resolve(undefined));
  });
  const { port } = /** @type {net.AddressInfo} */ (server.address());

  // This same file, told by its argument what to be.
  cluster.setupPrimary({ exec: __filename, args: ['child'] });
  /** @type {Receiver[]} */
  const receivers = [fork(__filename, ['child'])];
  for (let i = 0; i < WORKERS; i++) receivers.push(cluster.fork());

  process.on('SIGINT', () => {
    for (const receiver of receivers) {
      const { connected } = receiver instanceof cluster.Worker ? receiver.process : receiver;
      if (connected) receiver.disconnect();
    }
  });

  await Promise.all(receivers.map((receiver) => handOver(receiver, server)));
  // They have the listening socket now. Closed here, so that the primary takes none of its connections.
  server.close();
  console.log(`http://localhost:${port}/`);
}

function runChild() {
  const name = cluster.isWorker ? `worker ${cluster.worker?.id}` : 'the plain child';
  let stopping = false;
  const httpServer = http.createServer((_request, response) => {
    // Its client might otherwise go on for ever on this connection.
    if (stopping) response.setHeader('Connection', 'close');
    response.end(`${name} (pid ${process.pid})\n`);
  });

  process.once('message', (_message, handle) => {
    const server = /** @type {net.Server} */ (handle);
    server.on('connection', (socket) => httpServer.emit('connection', socket));
    process.once('disconnect', () => {
      stopping = true;
      server.close();
      httpServer.closeIdleConnections();
      // The server is not one of the cluster's, which would do all this for `worker.disconnect({ drain })`.
      setTimeout(() => httpServer.closeAllConnections(), DRAIN_MILLISECONDS).unref();
    });
    console.log(`${name} (pid ${process.pid}) has the server`);
    process.send?.('ready');
  });
  // A Ctrl-C in a terminal goes to every process of the group; the primary says when to stop.
  process.on('SIGINT', () => {});
}

if (process.argv[2] === 'child') runChild();
else runPrimary();
