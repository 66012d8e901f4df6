'use strict';

// The primary of resting.js, with two workers that serve HTTP and let their connections rest. Its first argument is the
// setting `keepAlive`.

const http = require('node:http');
const cluster = require('../..');
const { serve } = require('../lib/remote');

if (cluster.isPrimary) {
  cluster.setupPrimary({ schedulingPolicy: 'one-queue', keepAlive: /** @type {any} */ (process.argv[2]) });
  serve({
    async start() {
      const workers = [cluster.fork(), cluster.fork()];
      const [{ port }] = await Promise.all(
        workers.map((worker) => new Promise((resolve) => worker.once('listening', resolve))),
      );
      return port;
    },
    kept: () => cluster.stats().workers.reduce((sum, { kept }) => sum + kept, 0),
    collectGarbage: () => globalThis.gc?.(),
  });
} else {
  const server = http.createServer((_request, response) => response.end('x'));
  // They rest for as long as the bench takes.
  server.keepAliveTimeout = 600_000;
  server.listen(0, '127.0.0.1');
}
