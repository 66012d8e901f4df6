'use strict';

// Several builds of the binding against each other, in turns: how the constants in src/primary/config.rs were chosen.
//
//   node bench/variants.js --plain --files a.node,b.node,c.node

const path = require('node:path');
const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { progress } = require('./lib/pairs');
const { cpuTime } = require('./lib/proc');
const { withProgram } = require('./lib/program');
const { formatNumber } = require('./lib/report');
const { apart, median } = require('./lib/stats');
const { hasWrk, runWrk } = require('./lib/wrk');

const CLIENTS = 64;
const useWrk = hasWrk();

const options = readOptions({ files: '', workers: 2, rate: 1000, plain: false, pairs: 5, seconds: 2 });

/** @param {string} binding */
async function measure(binding) {
  const { workers, plain, rate, seconds } = options;
  const load = new LoadGenerator();
  return withProgram('corral', { workers, lane: !plain, binding }, async (program) => {
    const { port, pid } = program;
    const saturate = (/** @type {number} */ seconds) =>
      useWrk
        ? runWrk({ port, clients: CLIENTS, seconds })
        : load.run({ protocol: 'http', port, clients: CLIENTS, seconds });
    await saturate(1);
    const [before, countsBefore] = [cpuTime(pid), await program.counts()];
    const full = await saturate(seconds);
    const cpu = (cpuTime(pid) - before) / full.completed;
    const counts = (await program.counts()).map((count, i) => count - countsBefore[i]);
    const block = { every: 500, milliseconds: 300 };
    const blocked = await load.run({ protocol: 'http', port, rate, seconds, block });
    return {
      rate: full.completed / full.seconds,
      cpu,
      apart: apart(counts),
      p99: blocked.latency.p99,
      p999: blocked.latency.p999,
    };
  }).finally(() => load.stop());
}

async function main() {
  const files = options.files.split(',').map((file) => path.resolve(file));
  /** @type {Record<string, Awaited<ReturnType<typeof measure>>[]>} */
  const results = Object.fromEntries(files.map((file) => [file, []]));
  for (let round = 0; round < options.pairs; round++) {
    // Another one first in each round.
    for (const file of [...files.slice(round % files.length), ...files.slice(0, round % files.length)]) {
      progress(`round ${round + 1} of ${options.pairs}, ${path.basename(file)}`);
      results[file].push(await measure(file));
    }
  }
  progress('');
  const columns = /** @type {const} */ (['rate', 'cpu', 'apart', 'p99', 'p999']);
  console.log(
    `variants: ${options.plain ? 'channels' : 'lanes'}, ${options.workers} workers; medians of ${options.pairs}; ` +
      `conn/s, the primary's us/connection, and most and least of the workers apart, %, at saturation; p99 and p99.9, ms, at ${options.rate}/s when one ` +
      `request in 500 blocks its worker for 300 ms\n`,
  );
  console.log(['', 'conn/s', 'us', 'apart', 'p99', 'p99.9'].map((head) => head.padStart(12)).join(''));
  for (const file of files) {
    const cells = columns.map((column) => formatNumber(median(results[file].map((one) => one[column])), 1));
    console.log([path.basename(file, '.node'), ...cells].map((cell) => cell.padStart(12)).join(''));
  }
}

main();
