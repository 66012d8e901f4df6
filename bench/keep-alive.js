'use strict';

// Many requests on each connection: corral is not on their way, and must not be noticed. Needs wrk. See README.md.

const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { withProgram } = require('./lib/program');
const { printReport, ratioTarget } = require('./lib/report');
const { hasWrk, runWrk } = require('./lib/wrk');

const CLIENTS = 64;
const TARGET_RATIO = 0.98;

const options = readOptions({ workers: 2, plain: false });

async function main() {
  if (!hasWrk()) throw new Error('bench/keep-alive.js needs wrk');
  const { workers, seconds, plain } = options;
  const pairs = await runPairs(options, (side) =>
    withProgram(side, { workers, lane: !plain }, async ({ port }) => {
      await runWrk({ port, clients: CLIENTS, seconds: 1, keepAlive: true });
      const result = await runWrk({ port, clients: CLIENTS, seconds: Math.ceil(seconds), keepAlive: true });
      return { rate: result.completed / result.seconds, failed: result.failed };
    }),
  );
  printReport(
    {
      title: `keep-alive: many requests per connection, ${workers} workers, ${CLIENTS} clients, wrk`,
      pairs,
      rows: [
        { name: 'rate', label: 'requests/s' },
        { name: 'failed', label: 'failed requests' },
      ],
      targets: ({ rate }) => [ratioTarget('requests/s', rate, TARGET_RATIO)],
    },
    options,
  );
}

main();
