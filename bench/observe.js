'use strict';

// What it takes to observe a cluster, and whether it can be observed when that matters. See README.md.

const http = require('node:http');
const path = require('node:path');

const { blocks } = require('./lib/observe-blocks');
const { churn, mixed } = require('./lib/observe-load');
const { memory } = require('./lib/observe-memory');
const { page } = require('./lib/observe-page');
const { readOptions } = require('./lib/options');
const { runTime } = require('./lib/proc');
const { Remote, whileItRuns } = require('./lib/remote');
const { formatNumber, printVerdicts } = require('./lib/report');
const { scrape } = require('./lib/scrape');
const { SIDE_VARIABLE } = require('./lib/side');
const { quantile } = require('./lib/stats');

const SCRAPES = 100;
/** Of which the processor time is measured. */
const MANY_SCRAPES = 500;
/** And of those that come once a second, with all that is done between them. */
const SLOW_SCRAPES = 10;
/** How often a worker is blocked in each way. */
const BLOCKS = 5;
const TARGET_P99_MS = 5;
const TARGET_CPU = 0.1;
/** Longer than prom-client waits for its workers. */
const BLOCK_MS = 8000;

const options = readOptions({ parts: 'scrapes,blocks,memory,churn,mixed', workers: 4, rate: 1000 });
const parts = options.parts.split(',');

/** A cluster whose metrics are asked for. */
class Observed {
  #remote;
  port = 0;

  /** @param {import('./lib/side').Side} side */
  constructor(side) {
    this.#remote = new Remote(path.join(__dirname, 'programs/observe-primary.js'), {
      env: { [SIDE_VARIABLE]: side },
    });
  }

  get pid() {
    return this.#remote.pid;
  }

  /** @param {number} workers */
  async start(workers) {
    ({ port: this.port } = await this.#remote.ask('start', workers));
  }

  /** @param {boolean} all workers and the primary, or one worker */
  block(all) {
    return this.#remote.ask('block', { milliseconds: BLOCK_MS, all });
  }

  stop() {
    return this.#remote.stop();
  }
}

/** @param {import('./lib/side').Side} side */
function measureScrapes(side) {
  return whileItRuns(new Observed(side), options.workers, async (observed) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const { port, pid } = observed;
    await scrape(port, agent);
    const cpuOf = async (/** @type {number} */ scrapes, /** @type {number} */ pause) => {
      const before = runTime(pid);
      for (let count = 0; count < scrapes; count++) {
        await scrape(port, agent);
        if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
      }
      return (runTime(pid) - before) / scrapes;
    };
    const cpu = await cpuOf(MANY_SCRAPES, 0);
    const slowCpu = await cpuOf(SLOW_SCRAPES, 1000);
    await observed.block(false);
    const oneBlocked = await scrape(port, agent);
    // All that was blocked goes on first.
    await new Promise((resolve) => setTimeout(resolve, BLOCK_MS));
    await observed.block(true);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const times = [];
    // The built-in answers when the block is over, and not before.
    for (let count = 0; count < (side === 'corral' ? SCRAPES : 1); count++) {
      times.push((await scrape(port, agent)).milliseconds);
    }
    agent.destroy();
    return { cpu, slowCpu, oneBlocked, times };
  });
}

async function scrapes() {
  const builtin = await measureScrapes('builtin');
  const corral = await measureScrapes('corral');
  const [p50, p99] = [0.5, 0.99].map((q) => formatNumber(quantile(corral.times, q), 2));
  const told = (/** @type {{ milliseconds: number, status: number }} */ { milliseconds, status }) =>
    `${formatNumber(milliseconds, 1)} ms, status ${status}`;
  console.log(`scrapes: ${options.workers} workers with 700 series each; prom-client's AggregatorRegistry on the built-in
  one worker blocked               built-in: ${told(builtin.oneBlocked)}; corral: ${told(corral.oneBlocked)}
  all blocked, the primary too     built-in: ${formatNumber(builtin.times[0], 0)} ms (when the block of ${BLOCK_MS} ms was over)
                                   corral: p50 ${p50} ms, p99 ${p99} ms of ${SCRAPES} scrapes
  the primary's processor time     built-in: ${formatNumber(builtin.cpu, 0)} us a scrape; corral: ${formatNumber(corral.cpu, 0)} us
    with one scrape a second       built-in: ${formatNumber(builtin.slowCpu, 0)} us a second; corral: ${formatNumber(corral.slowCpu, 0)} us, with what is done between
                                   scrapes: seven looks at event loops, and what each worker has published anew
`);
  const ratio = corral.cpu / builtin.cpu;
  return [
    {
      text: `p99 with everything blocked at most ${TARGET_P99_MS} ms`,
      met: quantile(corral.times, 0.99) <= TARGET_P99_MS,
      got: `${p99} ms`,
    },
    {
      text: `the primary's processor time a scrape at most ${TARGET_CPU} x prom-client's`,
      met: ratio <= TARGET_CPU,
      got: `${formatNumber(ratio, 3)} x`,
    },
  ];
}

async function main() {
  /** @type {Record<string, () => Promise<import('./lib/report').Target[]>>} */
  const measured = {
    scrapes,
    blocks: () => blocks(BLOCKS),
    memory: () => memory(options.pairs),
    page: () => page(options.seconds),
  };
  for (const part of parts.filter((name) => name in measured)) {
    const verdicts = await measured[part]();
    printVerdicts(verdicts);
    if (options.check && verdicts.some(({ met }) => !met)) process.exitCode = 1;
    console.log('');
  }
  if (parts.includes('churn')) await churn(options);
  if (parts.includes('mixed')) await mixed(options);
}

main();
