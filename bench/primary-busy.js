'use strict';

// What clients notice when the primary's JavaScript is busy. See README.md.

const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { withProgram } = require('./lib/program');
const { formatNumber, printReport } = require('./lib/report');

const WARM_UP_SECONDS = 1;
const TARGET_RATIO = 2;

const options = readOptions({ workers: 2, rate: 2000 });

async function main() {
  const load = new LoadGenerator();
  const { workers, rate, seconds } = options;
  const pairs = await runPairs(options, (side) =>
    withProgram(side, { workers }, async (program) => {
      const job = { protocol: /** @type {'http'} */ ('http'), port: program.port, rate, seconds };
      await load.run({ ...job, seconds: WARM_UP_SECONDS });
      const idle = await load.run(job);
      await program.setBusy(true);
      const busy = await load.run(job);
      return {
        idleP50: idle.latency.p50,
        idleP99: idle.latency.p99,
        idleP999: idle.latency.p999,
        busyP50: busy.latency.p50,
        busyP99: busy.latency.p99,
        busyP999: busy.latency.p999,
        slowdown: busy.latency.p99 / idle.latency.p99,
        lag: busy.lag.p99,
        failed: idle.failed + idle.unanswered + busy.failed + busy.unanswered,
      };
    }),
  );
  await load.stop();
  printReport(
    {
      title: `primary-busy: ${rate} connections/s on schedule, ${workers} workers; busy: 200 ms out of every 400`,
      pairs,
      rows: [
        { name: 'idleP50', label: 'primary idle: p50, ms', digits: 2 },
        { name: 'idleP99', label: 'primary idle: p99, ms', digits: 2 },
        { name: 'idleP999', label: 'primary idle: p99.9, ms', digits: 2 },
        { name: 'busyP50', label: 'primary busy: p50, ms', digits: 2 },
        { name: 'busyP99', label: 'primary busy: p99, ms', digits: 2 },
        { name: 'busyP999', label: 'primary busy: p99.9, ms', digits: 2 },
        { name: 'slowdown', label: 'p99 busy / p99 idle', digits: 2 },
        { name: 'lag', label: 'load generator late by: p99, ms', digits: 2 },
        { name: 'failed', label: 'failed connections' },
      ],
      targets: ({ slowdown }) => [
        {
          text: `p99 with a busy primary at most ${TARGET_RATIO} x the same side's p99 with an idle one`,
          met: slowdown.corral <= TARGET_RATIO,
          got: `${formatNumber(slowdown.corral, 2)} x (built-in: ${formatNumber(slowdown.builtin, 1)} x)`,
        },
      ],
    },
    options,
  );
}

main();
