'use strict';

// A primary that forks a worker when it is asked to and says how long that took. The same file on both sides.

const path = require('node:path');
const { loadCluster } = require('../lib/side');
const { serve } = require('../lib/remote');

const cluster = loadCluster();
cluster.setupPrimary({ exec: path.join(__dirname, 'idle-worker.js') });

serve(
  {
    /** Milliseconds that fork() itself took, and from its call to the worker's 'online'. */
    fork() {
      const start = performance.now();
      const worker = cluster.fork();
      const call = performance.now() - start;
      return new Promise((resolve) => {
        let online = 0;
        worker.once('online', () => {
          online = performance.now() - start;
          worker.process.kill('SIGKILL');
        });
        // Answering only when it is gone keeps its end out of the next fork's time.
        worker.once('exit', () => resolve({ call, online }));
      });
    },
  },
  () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGKILL');
  },
);
