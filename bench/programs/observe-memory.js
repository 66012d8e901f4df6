'use strict';

// The primary of the memory part of bench/observe.js, and its workers: they do nothing but to be there.

const http = require('node:http');
const path = require('node:path');
const { setTimeout: wait } = require('node:timers/promises');

const { serve } = require('../lib/remote');
const { loadCluster } = require('../lib/side');

const cluster = /** @type {any} */ (loadCluster());

/** What is garbage is no part of what is measured. */
async function collect() {
  for (let time = 0; time < 3; time++) {
    /** @type {any} */ (globalThis).gc();
    await wait(300);
  }
}

if (cluster.isPrimary) {
  cluster.setupPrimary({
    exec: __filename,
    execArgv: ['--expose-gc', '--require', path.join(__dirname, '../../register.js')],
  });
  const workers = () => /** @type {any[]} */ (Object.values(cluster.workers));
  serve(
    {
      /** @param {number} count */
      async start(count) {
        for (let started = 0; started < count; started++) {
          const worker = cluster.fork();
          await new Promise((resolve) => worker.once('listening', resolve));
        }
        return { pids: workers().map((worker) => worker.process.pid) };
      },
      async collect() {
        const done = workers().map((worker) => new Promise((resolve) => worker.once('message', resolve)));
        for (const worker of workers()) worker.send('collect');
        await Promise.all([collect(), ...done]);
      },
      /** @param {boolean} isWanted */
      observe: (isWanted) => (isWanted ? cluster.observe({ port: 0 }).address().port : null),
    },
    () => {
      for (const worker of workers()) process.kill(worker.process.pid, 'SIGKILL');
    },
  );
} else {
  http.createServer((_, response) => response.end('hello\n')).listen(0, '127.0.0.1');
  process.on('message', () => collect().then(() => process.send?.('collected')));
}
