'use strict';

// What memory it takes to be observed: of the primary and of workers, before and after.

const path = require('node:path');

const { memoryKiB } = require('./proc');
const { Remote, whileItRuns } = require('./remote');
const { formatNumber } = require('./report');
const { scrape } = require('./scrape');
const { SIDE_VARIABLE } = require('./side');
const { median } = require('./stats');

const WORKERS = 2;
const SCRAPES = 10;
const TARGET_PRIMARY_KIB = 2048;
const TARGET_WORKER_KIB = 64;

/** @typedef {import('./proc').Memory} Memory */

/** @param {Memory} after @param {Memory} before @returns {Memory} */
const difference = (after, before) => ({
  resident: after.resident - before.resident,
  own: after.own - before.own,
});

/** @param {boolean} isObserved @returns {Promise<{ primary: Memory, workers: Memory[] }>} what more there is afterwards */
async function measure(isObserved) {
  const remote = new Remote(path.join(__dirname, '../programs/observe-memory.js'), {
    env: { [SIDE_VARIABLE]: 'corral' },
    execArgv: ['--expose-gc'],
  });
  /** @type {number[]} */
  let pids = [];
  const cluster = {
    pid: remote.pid,
    start: async () => {
      ({ pids } = await remote.ask('start', WORKERS));
    },
    stop: () => remote.stop(),
  };
  return whileItRuns(cluster, WORKERS, async () => {
    await remote.ask('collect');
    const before = [remote.pid, ...pids].map(memoryKiB);
    const port = await remote.ask('observe', isObserved);
    for (let count = 0; count < SCRAPES; count++) {
      if (port !== null) await scrape(port);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    await remote.ask('collect');
    const [primary, ...workers] = [remote.pid, ...pids].map((pid, place) =>
      difference(memoryKiB(pid), before[place]),
    );
    return { primary, workers };
  });
}

/** @param {number} rounds */
async function memory(rounds) {
  /** @type {Record<'primary' | 'worker', Record<keyof Memory, number[]>>} */
  const found = { primary: { resident: [], own: [] }, worker: { resident: [], own: [] } };
  for (let round = 0; round < rounds; round++) {
    const without = await measure(false);
    const observed = await measure(true);
    for (const kind of /** @type {const} */ (['resident', 'own'])) {
      found.primary[kind].push(observed.primary[kind] - without.primary[kind]);
      for (const place of observed.workers.keys()) {
        found.worker[kind].push(observed.workers[place][kind] - without.workers[place][kind]);
      }
    }
  }
  const text = (/** @type {number[]} */ kib) =>
    `${formatNumber(median(kib), 0)} KiB (${formatNumber(Math.min(...kib), 0)} to ${formatNumber(Math.max(...kib), 0)})`;
  console.log(`memory: what more there is while it is observed, ${rounds} pairs of the same program observed and not, collected before each look
  primary: its own (private, dirty)  ${text(found.primary.own)}; resident, with pages of files ${text(found.primary.resident)}
  worker: its own                    ${text(found.worker.own)}; resident ${text(found.worker.resident)}
`);
  const [primary, worker] = [median(found.primary.own), median(found.worker.own)];
  return [
    {
      text: `of the primary's own at most ${TARGET_PRIMARY_KIB} KiB`,
      met: primary <= TARGET_PRIMARY_KIB,
      got: `${formatNumber(primary, 0)} KiB`,
    },
    {
      text: `of a worker's own at most ${TARGET_WORKER_KIB} KiB`,
      met: worker <= TARGET_WORKER_KIB,
      got: `${formatNumber(worker, 0)} KiB`,
    },
  ];
}

module.exports = { memory };
