'use strict';

// The primary of bench/observe.js: it serves metrics, ours by `cluster.observe`, the built-in's by prom-client's AggregatorRegistry.

const http = require('node:http');
const path = require('node:path');

const { serve } = require('../lib/remote');
const { SIDE_VARIABLE, loadCluster } = require('../lib/side');

const cluster = /** @type {any} */ (loadCluster());
const isOurs = process.env[SIDE_VARIABLE] === 'corral';
const execArgv = isOurs ? ['--require', require.resolve('../../register.js')] : [];
cluster.setupPrimary({ exec: path.join(__dirname, 'observe-worker.js'), execArgv });

/** @returns {any[]} */
const workers = () => Object.values(cluster.workers ?? {});

function serveAggregated() {
  const { AggregatorRegistry } = require('prom-client');
  const registry = new AggregatorRegistry();
  const server = http.createServer(async (_, response) => {
    try {
      response.setHeader('Content-Type', registry.contentType);
      response.end(await registry.clusterMetrics());
    } catch (error) {
      response.writeHead(500).end(`${error}\n`);
    }
  });
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve(/** @type {any} */ (server.address()).port)),
  );
}

/** @param {number} milliseconds */
function wait(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

serve(
  {
    /** @param {number} count */
    async start(count) {
      for (let started = 0; started < count; started++) {
        const worker = cluster.fork();
        await new Promise((resolve) => worker.once('listening', resolve));
      }
      const port = isOurs ? cluster.observe({ port: 0 }).address().port : await serveAggregated();
      return { port, pids: workers().map((worker) => worker.process.pid) };
    },
    /**
     * Blocks a worker in this way, which does not survive it.
     *
     * @param {string} kind
     */
    async blockOnce(kind) {
      const worker = cluster.fork();
      await new Promise((resolve) => worker.once('listening', resolve));
      while (!cluster.stats().workers.find((/** @type {any} */ { id }) => id === worker.id)?.turns) {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      const begun = new Promise((resolve) => worker.once('message', resolve));
      const found = new Promise((resolve) => {
        cluster.on('blocked', function onBlocked(/** @type {any} */ who, /** @type {any} */ about) {
          if (who !== worker) return;
          cluster.removeListener('blocked', onBlocked);
          resolve({ about, at: process.hrtime.bigint() });
        });
      });
      worker.send({ blockBy: kind });
      const { at: from } = await begun;
      const { about, at } = await found;
      worker.process.kill('SIGKILL');
      const own = (about.stack ?? []).find((/** @type {any} */ { file }) =>
        file.endsWith('observe-worker.js'),
      );
      return {
        milliseconds: Number(at - BigInt(from)) / 1e6,
        top: own?.function ?? null,
        activity: about.activity,
      };
    },
    /** @param {{ milliseconds: number, all: boolean }} how all, or one worker and not this process */
    async block({ milliseconds, all }) {
      const blocked = all ? workers() : workers().slice(0, 1);
      const told = blocked.map((worker) => new Promise((resolve) => worker.once('message', resolve)));
      for (const worker of blocked) worker.send({ block: milliseconds });
      await Promise.all(told);
      // Behind the answer to this.
      if (all) setTimeout(wait, 10, milliseconds);
    },
  },
  () => {
    for (const worker of workers()) process.kill(worker.process.pid, 'SIGKILL');
  },
);
