'use strict';

// One of the workers is stopped for a while: what new connections notice. See README.md.

const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { withProgram } = require('./lib/program');
const { formatNumber, printReport } = require('./lib/report');

const TARGET_RATIO = 2;

const options = readOptions({ pairs: 3, seconds: 3, workers: 2, rate: 1000, plain: false });

async function main() {
  const load = new LoadGenerator();
  const { workers, rate, seconds, plain } = options;
  const pairs = await runPairs(options, (side) =>
    withProgram(side, { workers, lane: !plain }, async (program) => {
      const job = { protocol: /** @type {'http'} */ ('http'), port: program.port, rate, seconds };
      await load.run({ ...job, seconds: 1 });
      const normal = await load.run(job);
      process.kill(program.pids[0], 'SIGSTOP');
      const timer = setTimeout(() => process.kill(program.pids[0], 'SIGCONT'), seconds * 1000);
      const stopped = await load.run(job);
      clearTimeout(timer);
      process.kill(program.pids[0], 'SIGCONT');
      return {
        normalP50: normal.latency.p50,
        normalP99: normal.latency.p99,
        stoppedP50: stopped.latency.p50,
        stoppedP99: stopped.latency.p99,
        stoppedMax: stopped.latency.max,
        slowdown: stopped.latency.p99 / normal.latency.p99,
        failed: stopped.failed + stopped.unanswered,
      };
    }),
  );
  await load.stop();
  printReport(
    {
      title: `stopped-one: ${rate} connections/s on schedule, ${workers} workers, one of them stopped for ${seconds} s`,
      pairs,
      rows: [
        { name: 'normalP50', label: 'all at work: p50, ms', digits: 2 },
        { name: 'normalP99', label: 'all at work: p99, ms', digits: 2 },
        { name: 'stoppedP50', label: 'one stopped: p50, ms', digits: 2 },
        { name: 'stoppedP99', label: 'one stopped: p99, ms', digits: 2 },
        { name: 'stoppedMax', label: 'one stopped: longest, ms', digits: 2 },
        { name: 'slowdown', label: 'p99 one stopped / p99 all at work', digits: 2 },
        { name: 'failed', label: 'failed connections' },
      ],
      targets: ({ slowdown }) => [
        {
          text: `p99 with one stopped at most ${TARGET_RATIO} x the same side's p99 with all at work`,
          met: slowdown.corral <= TARGET_RATIO,
          got: `${formatNumber(slowdown.corral, 2)} x (built-in: ${formatNumber(slowdown.builtin, 1)} x)`,
        },
      ],
    },
    options,
  );
}

main();
