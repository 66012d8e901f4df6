'use strict';

// A dispatch centre that relays: clients ask it over HTTP, workers that have registered with it answer. Run it with
//
//   node examples/dispatch-centre.js              (PORT=3000 for another port than 8000)
//   node examples/dispatch-centre.js worker       in other terminals, as many as you like
//   curl http://localhost:8000/some/words         in one more
//
// The workers are nobody's children: they meet the centre at a Unix socket in the directory for temporary files and tell
// their pid in their first message. The centre prints a line for each that comes and goes and for each request, whose
// turn it is. Kill a worker that has a request: another one gets it. Stop the centre and start it again: the workers
// come back by themselves. Ctrl-C stops any of them.
//
// Every byte of a request and of its answer goes through the centre. In dispatch-handover.js it hands over the client's
// connection instead, and is done with it.

const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const net = require('corral/net');

const DEFAULT_PORT = 8000;
const ADDRESS = path.join(os.tmpdir(), 'corral-dispatch-centre.sock');

/** @typedef {{ pid: number, channel: net.Channel }} Worker */

function runCentre() {
  /** The next one's turn is the first one's. @type {Worker[]} */
  const workers = [];

  const registry = net.createServer({ ipc: true }, (channel) => {
    channel.once('message', ({ pid }) => {
      const worker = { pid, channel };
      workers.push(worker);
      console.log(`worker ${pid} has come`);
      channel.once('disconnect', () => {
        workers.splice(workers.indexOf(worker), 1);
        console.log(`worker ${pid} has gone`);
      });
    });
  });

  /**
   * @param {string} url what the client asks for
   * @returns {Promise<string | undefined>} the answer; none when there is no worker
   */
  async function relay(url) {
    for (;;) {
      const worker = workers.shift();
      if (worker === undefined) return undefined;
      workers.push(worker);
      console.log(`${url} goes to worker ${worker.pid}`);
      try {
        return await worker.channel.request(url);
      } catch (error) {
        // It has died. Whether it was done with the request by then nobody knows; this one can be done twice.
        if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ERR_CORRAL_NO_REPLY') throw error;
      }
    }
  }

  const clients = http.createServer(async ({ url = '' }, response) => {
    // Each request has its turn, not each connection.
    response.setHeader('Connection', 'close');
    try {
      const answer = await relay(url);
      response.statusCode = answer === undefined ? 503 : 200;
      response.end(answer ?? 'there is no worker\n');
    } catch (error) {
      // What a worker has thrown arrives here.
      response.statusCode = 502;
      response.end(`${error}\n`);
    }
  });

  registry.listen(ADDRESS, () => console.log(`workers: node ${path.relative('', __filename)} worker`));
  clients.listen(Number(process.env.PORT ?? DEFAULT_PORT), () => {
    const { port } = /** @type {net.AddressInfo} */ (clients.address());
    console.log(`clients: curl http://localhost:${port}/some/words`);
  });
  process.once('SIGINT', () => {
    registry.close();
    // What is under way is answered first.
    clients.close(() => {
      for (const channel of registry.connections) channel.disconnect();
    });
    console.log('no more clients');
  });
}

function runWorker() {
  const centre = net.connect({ ipc: true, path: ADDRESS, reconnect: { maxDelay: 1_000 } });
  centre.on('connect', () => {
    centre.send({ pid: process.pid });
    console.log(`worker ${process.pid} has registered`);
  });
  centre.on('reconnecting', ({ attempt, cause }) => {
    if (attempt === 1) console.log(`waiting for the centre${cause ? `: ${cause.message}` : ''}`);
  });
  centre.respond((url) => {
    console.log(url);
    return `worker ${process.pid}: ${url.toUpperCase()}\n`;
  });
}

if (process.argv[2] === 'worker') runWorker();
else runCentre();
