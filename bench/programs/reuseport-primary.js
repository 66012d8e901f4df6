'use strict';

// The primary of bench/reuseport.js: the same file on all sides. Started by lib/reuseport-program.js.

const path = require('node:path');
const { SIDE_VARIABLE, loadCluster } = require('../lib/side');
const { serve } = require('../lib/remote');
const { freePort } = require('../../scripts/lib-free-port');

/** @typedef {import('node:cluster').Worker} Worker */

/** @type {{ protocol: string, reusePort: boolean, plain: boolean }} */
const { protocol, reusePort, plain } = JSON.parse(/** @type {string} */ (process.argv[2]));

const cluster = loadCluster();
const usesLane = !plain && process.env[SIDE_VARIABLE] === 'corral';
const execArgv = usesLane ? ['--require', require.resolve('../../register.js')] : [];

/** Those that block, and until when. @type {Map<Worker, number>} */
const blocked = new Map();
/** @type {NodeJS.Timeout[]} */
let timers = [];
let kills = 0;
let blocks = 0;

/** @returns {Worker[]} that serve */
function serving() {
  const workers = /** @type {Worker[]} */ (Object.values(cluster.workers ?? {}));
  return workers.filter((worker) => ready.has(worker) && !worker.isDead());
}

/** @type {WeakSet<Worker>} */
const ready = new WeakSet();

/** @returns {Promise<Worker>} one that serves; Node's own `reusePort` has no 'listening' here, so it says so itself */
function forkServing() {
  const worker = cluster.fork();
  return new Promise((resolve) => {
    worker.once('message', () => {
      ready.add(worker);
      resolve(worker);
    });
  });
}

/** @template T @param {T[]} from */
const anyOf = (from) => from[Math.floor(Math.random() * from.length)];

serve(
  {
    /** @param {number} workers */
    async start(workers) {
      const port = await freePort();
      const args = [JSON.stringify({ protocol, reusePort, port })];
      cluster.setupPrimary({ exec: path.join(__dirname, 'reuseport-worker.js'), args, execArgv });
      await Promise.all(Array.from({ length: workers }, forkServing));
      return port;
    },
    /**
     * From now on half of the workers are blocked for so many milliseconds at a time, each chosen at random, and now and then
     * one is killed and replaced, until there have been as many kills.
     *
     * @param {{ block: number, kills: number, every: number }} storm
     */
    beginStorm({ block, kills: total, every }) {
      kills = blocks = 0;
      const all = serving().length;
      const blockMore = () => {
        const now = performance.now();
        for (const [worker, until] of blocked) if (until < now || worker.isDead()) blocked.delete(worker);
        const workers = serving();
        const free = workers.filter((worker) => !blocked.has(worker));
        if (free.length <= workers.length / 2) return;
        const worker = anyOf(free);
        blocked.set(worker, now + block);
        blocks++;
        // One that has just been killed does not hear it.
        worker.send({ block }, () => {});
      };
      const kill = () => {
        // One at a time: there are others for what it leaves.
        if (kills === total || serving().length < all) return;
        kills++;
        process.kill(/** @type {number} */ (anyOf(serving()).process.pid), 'SIGKILL');
      };
      if (block > 0) timers.push(setInterval(blockMore, 10));
      if (total > 0) {
        timers.push(setInterval(kill, every));
        cluster.on('exit', forkServing);
      }
    },
    /** @returns {number} how many were killed so far */
    kills: () => kills,
    endStorm() {
      timers.forEach(clearInterval);
      timers = [];
      cluster.removeListener('exit', forkServing);
      /** @type {{ accepted: number }[] | undefined} only corral has them */
      const servers = /** @type {any} */ (cluster).stats?.().servers;
      return { kills, blocks, accepted: servers?.reduce((sum, { accepted }) => sum + accepted, 0) ?? null };
    },
    accepted() {
      const servers = /** @type {any} */ (cluster).stats?.().servers;
      return servers?.reduce(
        (/** @type {number} */ sum, /** @type {any} */ { accepted }) => sum + accepted,
        0,
      );
    },
  },
  () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGKILL');
  },
);
