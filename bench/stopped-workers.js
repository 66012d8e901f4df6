'use strict';

// What the primary takes in while no worker can serve, and whether everybody is served afterwards. See
// README.md.

const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { fdCount } = require('./lib/proc');
const { withProgram } = require('./lib/program');
const { formatNumber, printReport } = require('./lib/report');
const { FdWatch, settledFdCount } = require('./lib/watch');

/** @typedef {import('./lib/side').Side} Side */

/** corral's default bound on accepted connections that no worker has taken, per server. */
const BOUND = 1024;
/**
 * Besides the bound: what is on the way to the workers, and what the reactor had accepted when it saw the
 * bound.
 */
const BOUND_SLACK = 64;
/**
 * A client whose SYN met a full backlog tries again after 1, 3, 7 and 15 s: this is the kernel's doing, and
 * the last ones come that late.
 */
const PATIENCE_SECONDS = 40;

const options = readOptions({ pairs: 1, clients: 3000, workers: 2 });

/** @param {Side} side */
function measure(side) {
  const load = new LoadGenerator();
  const { clients: count, workers } = options;
  return withProgram(side, { workers }, async (program) => {
    const { port, pid, pids } = program;
    await load.run({ protocol: 'http', port, clients: 16, count: 200 });
    const idle = await settledFdCount(pid, { quietSeconds: 0.5, limitSeconds: 5 });
    for (const worker of pids) process.kill(worker, 'SIGSTOP');
    const watch = new FdWatch(pid);
    const running = load.run({ protocol: 'http', port, clients: count, count, patience: PATIENCE_SECONDS });
    await settledFdCount(pid, { quietSeconds: 2, limitSeconds: 20 });
    const held = watch.stop() - idle;
    const continuedAt = performance.now();
    for (const worker of pids) process.kill(worker, 'SIGCONT');
    const { completed, failed, unanswered } = await running;
    const seconds = (performance.now() - continuedAt) / 1000;
    await settledFdCount(pid, { quietSeconds: 0.5, limitSeconds: 5 });
    return { held, completed, failed, unanswered, seconds, left: fdCount(pid) - idle };
  }).finally(() => load.stop());
}

async function main() {
  const pairs = await runPairs(options, measure);
  printReport(
    {
      title: `stopped-workers: ${options.clients} clients while all ${options.workers} workers are stopped`,
      pairs,
      rows: [
        { name: 'held', label: 'fds above idle while stopped, at most' },
        { name: 'completed', label: 'served after SIGCONT' },
        { name: 'failed', label: 'failed' },
        { name: 'unanswered', label: 'never answered' },
        { name: 'seconds', label: 'SIGCONT to the last answer, s', digits: 1 },
        { name: 'left', label: 'fds above idle afterwards' },
      ],
      targets: ({ held, completed, left }) => [
        {
          text: `the primary holds at most ${BOUND} connections and ${BOUND_SLACK} on their way`,
          met: held.corral <= BOUND + BOUND_SLACK,
          got: formatNumber(held.corral, 0),
        },
        {
          text: 'all clients are served after SIGCONT',
          met: completed.corral === options.clients,
          got: formatNumber(completed.corral, 0),
        },
        { text: 'no fd is left over', met: left.corral === 0, got: formatNumber(left.corral, 0) },
      ],
    },
    options,
  );
}

main();
