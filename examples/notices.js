'use strict';

// A notice board: a service that tells everybody everything, and clients that stay with it. Run it with
//
//   node examples/notices.js board         in one terminal
//   node examples/notices.js               in other terminals, as many as you like
//
// Type something at a client: all of them print it, and yours says how many have it. Then stop the board and start it
// again. The clients wait for it and carry on; what you type meanwhile is published once it is back, unless that takes
// longer than ten seconds (TIMEOUT=2000 for another number of milliseconds). Ctrl-D ends a client, Ctrl-C any of them.

const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const net = require('corral/net');

const ADDRESS = path.join(os.tmpdir(), 'corral-notices.sock');
const DEFAULT_TIMEOUT = 10_000;
const MAX_CLIENTS = 1_000;

/** @typedef {{ by: number, text: string }} Notice by the process with this pid */

function runBoard() {
  const board = net.createServer({ ipc: true, maxConnections: MAX_CLIENTS }, (client) => {
    const by = /** @type {net.Peer} */ (client.peer).pid;
    console.log(`client ${by} has come`);
    client.respond(({ text }) => {
      console.log(`client ${by}: ${text}`);
      board.broadcast({ by, text });
      return { readers: board.connections.size };
    });
    client.on('disconnect', () => console.log(`client ${by} has gone`));
    // Such as one that reads so slowly that there is no more room for what waits for it.
    client.on('error', (error) => {
      console.log(`client ${by}: ${error.message}`);
      client.destroy();
    });
  });
  board.on('error', (error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
  board.listen(ADDRESS, () => console.log(`the board is at ${ADDRESS}`));

  process.once('SIGINT', () => {
    board.close();
    for (const client of board.connections) client.disconnect();
  });
}

/** @param {number} timeout in milliseconds */
async function runClient(timeout) {
  const board = net.connect({ ipc: true, path: ADDRESS, reconnect: { minDelay: 50, maxDelay: 1_000 } });

  board.on('connect', async () => {
    console.log('connected');
    // The loop ends with the connection; the next 'connect' begins the next one.
    for await (const { by, text } of board) console.log(`${by}: ${text}`);
  });
  board.on('reconnecting', ({ attempt }) => {
    if (attempt === 1) console.log('waiting for the board');
  });

  for await (const text of readline.createInterface({ input: process.stdin })) {
    try {
      // Without a connection it waits for one, with the rest of what is to be sent.
      const { readers } = await board.request({ text }, { timeout });
      console.log(`published to ${readers}`);
    } catch (error) {
      console.log(`not published: ${/** @type {Error} */ (error).message}`);
    }
  }
  board.disconnect();
}

if (process.argv[2] === 'board') runBoard();
else runClient(Number(process.env.TIMEOUT ?? DEFAULT_TIMEOUT));
