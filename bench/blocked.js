'use strict';

// One request in so many blocks its worker: what all the others notice. See README.md.

const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { withProgram } = require('./lib/program');
const { formatNumber, printReport } = require('./lib/report');

const TARGET_P99 = 15;
const TARGET_P999 = 60;

const options = readOptions({ workers: 2, rate: 1000, every: 500, block: 300, waits: false, plain: false });

async function main() {
  const load = new LoadGenerator();
  const { workers, rate, seconds, every, block, waits } = options;
  const pairs = await runPairs(options, (side) =>
    withProgram(side, { workers, lane: !options.plain }, async (program) => {
      const job = { protocol: /** @type {'http'} */ ('http'), port: program.port, rate };
      await load.run({ ...job, seconds: 1 });
      const result = await load.run({ ...job, seconds, block: { every, milliseconds: block, waits } });
      return {
        p50: result.latency.p50,
        p99: result.latency.p99,
        p999: result.latency.p999,
        max: result.latency.max,
        lag: result.lag.p99,
        failed: result.failed + result.unanswered,
      };
    }),
  );
  await load.stop();
  printReport(
    {
      title: `blocked: ${rate} connections/s on schedule, ${workers} workers; one in ${every} blocks its worker for ${block} ms, ${waits ? 'waiting' : 'computing'}`,
      pairs,
      rows: [
        { name: 'p50', label: 'the others: p50, ms', digits: 2 },
        { name: 'p99', label: 'the others: p99, ms', digits: 2 },
        { name: 'p999', label: 'the others: p99.9, ms', digits: 2 },
        { name: 'max', label: 'the others: longest, ms', digits: 2 },
        { name: 'lag', label: 'load generator late by: p99, ms', digits: 2 },
        { name: 'failed', label: 'failed connections' },
      ],
      targets: ({ p99, p999 }) => [
        {
          text: `p99 of the others at most ${TARGET_P99} ms`,
          met: p99.corral <= TARGET_P99,
          got: `${formatNumber(p99.corral, 1)} ms (built-in: ${formatNumber(p99.builtin, 1)} ms)`,
        },
        {
          text: `p99.9 of the others at most ${TARGET_P999} ms`,
          met: p999.corral <= TARGET_P999,
          got: `${formatNumber(p999.corral, 1)} ms (built-in: ${formatNumber(p999.builtin, 1)} ms)`,
        },
      ],
    },
    options,
  );
}

main();
