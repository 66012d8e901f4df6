'use strict';

// Accepts TCP connections and gives each to another process: a child by child_process on one side, whoever connects
// to a path by corral/net on the other.

const { fork } = require('node:child_process');
const nodeNet = require('node:net');
const path = require('node:path');
const { serve } = require('../lib/remote');
const { SIDE_VARIABLE } = require('../lib/side');

const isCorral = process.env[SIDE_VARIABLE] === 'corral';
/** @type {import('node:child_process').ChildProcess | undefined} */
let child;

/**
 * @param {string} socketPath
 * @returns {Promise<{ send: (message: any, socket: nodeNet.Socket) => unknown }>} who takes them
 */
function findTaker(socketPath) {
  if (!isCorral) {
    child = fork(path.join(__dirname, 'handle-taker.js'));
    return Promise.resolve(child);
  }
  const net = require('../../net');
  return new Promise((resolve) => net.createServer({ ipc: true }, resolve).listen(socketPath));
}

/** @type {NodeJS.CpuUsage} */
let cpu;

serve(
  {
    /** @param {string} socketPath */
    async start(socketPath) {
      const taker = findTaker(socketPath);
      const server = nodeNet.createServer({ pauseOnConnect: true }, async (socket) => {
        // A client that has gone meanwhile counts as lost over there.
        socket.on('error', () => {});
        (await taker).send('connection', socket);
      });
      await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
      return /** @type {nodeNet.AddressInfo} */ (server.address()).port;
    },
    beginCpu() {
      cpu = process.cpuUsage();
    },
    endCpu() {
      const { user, system } = process.cpuUsage(cpu);
      return user + system;
    },
  },
  () => child?.kill(),
);
