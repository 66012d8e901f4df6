'use strict';

// Accepted TCP connections given from one process to another: by corral/net between unrelated processes, by
// child_process to a child. See README.md.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { Remote } = require('./lib/remote');
const { printReport } = require('./lib/report');
const { SIDE_VARIABLE } = require('./lib/side');

const options = readOptions({ rate: 2000, seconds: 5 });

/**
 * @param {LoadGenerator} load
 * @param {import('./lib/side').Side} side
 */
async function measure(load, side) {
  const { rate, seconds } = options;
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-bench-'));
  const socket = path.join(directory, 'socket');
  const programs = path.join(__dirname, 'programs');
  const giver = new Remote(path.join(programs, 'handle-giver.js'), { env: { [SIDE_VARIABLE]: side } });
  /** @type {Remote | undefined} */
  let taker;
  try {
    const port = await giver.ask('start', socket);
    if (side === 'corral') {
      taker = new Remote(path.join(programs, 'handle-taker.js'), { args: ['corral'] });
      await taker.ask('connect', socket);
    }
    const job = { protocol: /** @type {'net'} */ ('net'), port, rate, seconds };
    await load.run({ ...job, seconds: 0.5 });
    await giver.ask('beginCpu');
    const { completed, failed, unanswered, seconds: took, latency } = await load.run(job);
    const cpu = await giver.ask('endCpu');
    return {
      rate: completed / took,
      lost: failed + unanswered,
      p50: latency.p50,
      p99: latency.p99,
      cpu: cpu / completed,
    };
  } finally {
    await Promise.all([giver.stop(), taker?.stop()]);
    fs.rmSync(directory, { recursive: true });
  }
}

async function main() {
  const load = new LoadGenerator();
  const pairs = await runPairs(options, (side) => measure(load, side));
  await load.stop();
  printReport(
    {
      title: `net-handles: ${options.rate} accepted connections/s given to another process`,
      baseline: 'child',
      pairs,
      rows: [
        { name: 'rate', label: 'connections/s' },
        { name: 'lost', label: 'lost' },
        { name: 'p50', label: 'p50, ms', digits: 2 },
        { name: 'p99', label: 'p99, ms', digits: 2 },
        { name: 'cpu', label: "giver's CPU, us/connection", digits: 1 },
      ],
      targets: ({ rate, lost }) => [
        {
          text: 'nothing lost',
          met: lost.corral === 0,
          got: `${lost.corral} (child: ${lost.builtin})`,
        },
        {
          text: `${options.rate} connections/s are held`,
          met: rate.corral >= 0.98 * options.rate,
          got: `${Math.round(rate.corral)} (child: ${Math.round(rate.builtin)})`,
        },
      ],
    },
    options,
  );
}

main();
