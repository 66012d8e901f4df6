'use strict';

// A random worker dies every so often and is forked again: whose requests fail, and who is left hanging. See README.md.

const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { withProgram } = require('./lib/program');
const { formatNumber, printReport } = require('./lib/report');
const { settledFdCount } = require('./lib/watch');

const options = readOptions({ pairs: 1, seconds: 30, workers: 4, rate: 1000, every: 200, plain: false });

async function main() {
  const load = new LoadGenerator();
  const { workers, rate, seconds, every, plain } = options;
  const pairs = await runPairs(options, (side) =>
    withProgram(side, { workers, lane: !plain }, async (program) => {
      const { port, pid } = program;
      await load.run({ protocol: 'http', port, rate, seconds: 1 });
      const idle = await settledFdCount(pid, { quietSeconds: 0.5, limitSeconds: 5 });
      await program.beginKills(every);
      const result = await load.run({ protocol: 'http', port, rate, seconds });
      const { kills, unexplained } = await program.endKills(result.failedPorts);
      const left = (await settledFdCount(pid, { quietSeconds: 0.5, limitSeconds: 10 })) - idle;
      return {
        kills,
        completed: result.completed,
        failed: result.failed,
        unexplained: unexplained ?? NaN,
        unanswered: result.unanswered,
        p99: result.latency.p99,
        left,
      };
    }),
  );
  await load.stop();
  printReport(
    {
      title: `kills: ${rate} connections/s on schedule, ${workers} workers, one killed every ${every} ms and forked again`,
      pairs,
      rows: [
        { name: 'kills', label: 'workers killed' },
        { name: 'completed', label: 'answered' },
        { name: 'failed', label: 'closed without an answer' },
        { name: 'unexplained', label: 'of these, not received by a worker that died' },
        { name: 'unanswered', label: 'left hanging' },
        { name: 'p99', label: 'p99, ms', digits: 1 },
        { name: 'left', label: 'fds above idle afterwards' },
      ],
      targets: ({ unexplained, unanswered, left, failed }) => [
        {
          text: 'only requests fail that a dead worker had received',
          met: unexplained.corral === 0,
          got: `${formatNumber(unexplained.corral, 0)} of ${formatNumber(failed.corral, 0)} (built-in: ${formatNumber(failed.builtin, 0)} failed)`,
        },
        {
          text: 'nobody is left hanging',
          met: unanswered.corral === 0,
          got: `${formatNumber(unanswered.corral, 0)} (built-in: ${formatNumber(unanswered.builtin, 0)})`,
        },
        { text: 'no fd is left over', met: left.corral <= 0, got: formatNumber(left.corral, 0) },
      ],
    },
    options,
  );
}

main();
