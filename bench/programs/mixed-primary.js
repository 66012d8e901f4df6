'use strict';

// The primary of the mixed bench: the same file on all sides. Started by lib/mixed-program.js.

const path = require('node:path');
const { SIDE_VARIABLE, loadCluster, modulePath } = require('../lib/side');
const { serve } = require('../lib/remote');

/**
 * @typedef {object} Options
 * @property {boolean} lane workers load corral, on our side
 * @property {boolean} reusePort workers bind the port themselves
 * @property {number} servers in each worker
 * @property {object} settings for setupPrimary
 */

/**
 * @typedef {object} WorkerOptions
 * @property {number} servers
 * @property {number[]} port the servers' ports, none when any will do
 * @property {boolean} reusePort
 */

const cluster = loadCluster();

/** @type {Options} */
const { lane, reusePort, servers, settings } = JSON.parse(/** @type {string} */ (process.argv[2]));
const usesLane = lane && process.env[SIDE_VARIABLE] === 'corral';

/** @param {number[]} port */
function setup(port) {
  /** @type {WorkerOptions} */
  const workerOptions = { servers, port, reusePort };
  cluster.setupPrimary({
    exec: path.join(__dirname, 'mixed-worker.js'),
    args: [JSON.stringify(workerOptions)],
    execArgv: usesLane ? ['--require', path.join(modulePath(), 'register.js')] : [],
    ...settings,
  });
}

/**
 * Forks one worker that serves before this resolves.
 * @returns {Promise<{ pid: number, ports: number[] }>}
 */
function forkServing() {
  const worker = cluster.fork();
  return new Promise((resolve, reject) => {
    worker.once('message', ({ ports }) =>
      resolve({ pid: /** @type {number} */ (worker.process.pid), ports }),
    );
    worker.once('exit', (code, signal) =>
      reject(new Error(`a worker ended at its start: ${signal ?? code}`)),
    );
  });
}

serve(
  {
    /** @param {number} workers */
    async start(workers) {
      setup([]);
      const first = await forkServing();
      // Workers that bind for themselves have to be given the port that the first one got.
      if (reusePort) setup(first.ports);
      const others = await Promise.all(Array.from({ length: workers - 1 }, forkServing));
      const ports = [first, ...others].map((worker) => worker.ports.join());
      if (new Set(ports).size > 1)
        throw new Error(`the workers serve at different ports: ${ports.join('; ')}`);
      return { ports: first.ports, pids: [first, ...others].map(({ pid }) => pid) };
    },
    /** Ours only: has the cluster observed, and returns where. */
    observe: () => /** @type {any} */ (cluster).observe({ port: 0 }).address().port,
  },
  () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGKILL');
  },
);
