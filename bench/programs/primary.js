'use strict';

// The primary of every bench that serves connections: the same file on both sides. Started by lib/program.js.

const path = require('node:path');
const { SIDE_VARIABLE, loadCluster } = require('../lib/side');
const { serve } = require('../lib/remote');

const BUSY_MILLISECONDS = 200;
const BUSY_EVERY_MILLISECONDS = 400;

const cluster = loadCluster();

// The worker is a file that knows nothing of corral. With --lane it is loaded in front of it, which is what turns the
// worker's lane on.
const args = process.argv.slice(2);
const usesLane = args.includes('lane') && process.env[SIDE_VARIABLE] === 'corral';
const execArgv = usesLane ? ['--require', require.resolve('../../register.js')] : [];
cluster.setupPrimary({ exec: path.join(__dirname, 'worker.js'), args, execArgv });

/** @typedef {import('node:cluster').Worker} Worker */

/** @returns {Worker[]} */
function allWorkers() {
  return /** @type {Worker[]} */ (Object.values(cluster.workers ?? {}));
}

/**
 * @param {Worker} worker
 * @returns {number}
 */
function pidOf(worker) {
  return /** @type {number} */ (worker.process.pid);
}

/**
 * Forks one worker that serves before this resolves.
 * @returns {Promise<{ worker: Worker, port: number }>}
 */
function forkListening() {
  const worker = cluster.fork();
  return new Promise((resolve, reject) => {
    worker.once('listening', ({ port }) => resolve({ worker, port }));
    worker.once('exit', (code, signal) =>
      reject(new Error(`a worker ended at its start: ${signal ?? code}`)),
    );
  });
}

/**
 * @param {Worker} worker
 * @returns {Promise<{ connections: number, open: number }>} how many connections it has had, and has
 */
function countsOf(worker) {
  return new Promise((resolve) => {
    worker.once('message', resolve);
    worker.send('count');
  });
}

/** @param {number} milliseconds */
function block(milliseconds) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

/** @type {NodeJS.Timeout | undefined} */
let busyTimer;
/** @type {NodeJS.Timeout | undefined} */
let killTimer;
/** The ids of the workers that were killed. @type {Set<number>} */
const killed = new Set();
/** The workers to which each client was given, by the client's port. @type {Map<number, number[]>} */
let takers = new Map();

function refork() {
  cluster.fork();
}

serve(
  {
    /** @param {number} workers */
    async start(workers) {
      const started = await Promise.all(Array.from({ length: workers }, forkListening));
      return { port: started[0].port, pids: started.map(({ worker }) => pidOf(worker)) };
    },
    counts: async () => (await Promise.all(allWorkers().map(countsOf))).map(({ connections }) => connections),
    open: async () => (await Promise.all(allWorkers().map(countsOf))).map(({ open }) => open),
    pids: () => allWorkers().map(pidOf),
    lanes() {
      // Only corral has them.
      const { stats } = /** @type {any} */ (cluster);
      /** @type {{ stalls: number, recalled: number }[] | undefined} */
      const workers = stats?.().workers;
      const total = (/** @type {'stalls' | 'recalled'} */ name) =>
        workers?.reduce((sum, worker) => sum + worker[name], 0) ?? null;
      return { stalls: total('stalls'), recalled: total('recalled') };
    },
    /** @param {boolean} busy */
    busy(busy) {
      clearInterval(busyTimer);
      if (busy) busyTimer = setInterval(block, BUSY_EVERY_MILLISECONDS, BUSY_MILLISECONDS);
    },
    /** @param {number} every */
    beginKills(every) {
      takers = new Map();
      // Only corral tells.
      cluster.on(
        'connection',
        (/** @type {Worker} */ worker, /** @type {{ remotePort: number }} */ { remotePort }) => {
          takers.set(remotePort, [...(takers.get(remotePort) ?? []), worker.id]);
        },
      );
      cluster.on('exit', refork);
      killTimer = setInterval(() => {
        const living = allWorkers().filter(({ id }) => !killed.has(id));
        const victim = living[Math.floor(Math.random() * living.length)];
        if (victim === undefined) return;
        killed.add(victim.id);
        process.kill(pidOf(victim), 'SIGKILL');
      }, every);
    },
    /** @param {number[]} failedPorts */
    async endKills(failedPorts) {
      clearInterval(killTimer);
      cluster.removeListener('exit', refork);
      const isExplained = (/** @type {number} */ port) => takers.get(port)?.some((id) => killed.has(id));
      const unexplained = failedPorts.filter((port) => !isExplained(port)).length;
      return {
        kills: killed.size,
        unexplained: process.env[SIDE_VARIABLE] === 'corral' ? unexplained : null,
      };
    },
    /** Ours only: has the cluster observed, and returns where. */
    observe: () => /** @type {any} */ (cluster).observe({ port: 0 }).address().port,
    collectGarbage() {
      // Twice: what the first run's finalizers let go of is found by the second.
      globalThis.gc?.();
      globalThis.gc?.();
    },
    /**
     * Ends the oldest worker and resolves when another serves in its place.
     * @param {'kill' | 'disconnect'} how
     */
    async replace(how) {
      const [oldest] = allWorkers();
      const gone = new Promise((resolve) => oldest.once('exit', resolve));
      if (how === 'kill') process.kill(pidOf(oldest), 'SIGKILL');
      else oldest.disconnect();
      await gone;
      await forkListening();
    },
  },
  () => {
    // Also of use for workers that are stopped, which would not see the channel close.
    for (const worker of allWorkers()) process.kill(pidOf(worker), 'SIGKILL');
  },
);
