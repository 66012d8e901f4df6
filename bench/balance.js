'use strict';

// How evenly connections are spread over the workers. See README.md.

const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { withProgram } = require('./lib/program');
const { formatNumber, printReport } = require('./lib/report');
const { apart } = require('./lib/stats');

/** @typedef {import('./lib/program').Program} Program */

const CLIENTS = 64;
const WARM_UP_CONNECTIONS = 2000;
/** Percent of an even share. */
const TARGET_APART = 1;

const options = readOptions({ workers: 4, connections: 10_000, rate: 2000, plain: false });

/**
 * @param {Program} program
 * @param {() => Promise<{ failed: number, unanswered: number }>} run
 */
async function spreadOf(program, run) {
  const [countsBefore, lanesBefore] = [await program.counts(), await program.lanes()];
  const { failed, unanswered } = await run();
  const [countsAfter, lanesAfter] = [await program.counts(), await program.lanes()];
  const counts = countsAfter.map((count, i) => count - countsBefore[i]);
  const grown = (/** @type {'stalls' | 'recalled'} */ name) =>
    lanesBefore[name] === null || lanesAfter[name] === null ? NaN : lanesAfter[name] - lanesBefore[name];
  return {
    apart: apart(counts),
    stalls: grown('stalls'),
    recalled: grown('recalled'),
    failed: failed + unanswered,
  };
}

async function main() {
  const load = new LoadGenerator();
  const { workers, connections, rate, plain } = options;
  const pairs = await runPairs(options, (side) =>
    withProgram(side, { workers, lane: !plain }, async (program) => {
      const job = { protocol: /** @type {'http'} */ ('http'), port: program.port };
      await load.run({ ...job, clients: CLIENTS, count: WARM_UP_CONNECTIONS });
      const full = await spreadOf(program, () => load.run({ ...job, clients: CLIENTS, count: connections }));
      const steady = await spreadOf(program, () => load.run({ ...job, rate, seconds: connections / rate }));
      return {
        apart: full.apart,
        stalls: full.stalls,
        recalled: full.recalled,
        steadyApart: steady.apart,
        steadyStalls: steady.stalls,
        steadyRecalled: steady.recalled,
        failed: full.failed + steady.failed,
      };
    }),
  );
  await load.stop();
  const verdict = (/** @type {import('./lib/pairs').Comparison} */ { builtin, corral }) => ({
    met: corral <= TARGET_APART,
    got: `${formatNumber(corral, 2)} % (built-in: ${formatNumber(builtin, 2)} %)`,
  });
  printReport(
    {
      title: `balance: ${connections} connections each time, ${workers} workers; ${CLIENTS} clients, then ${rate}/s`,
      pairs,
      rows: [
        { name: 'apart', label: `${CLIENTS} clients: most and least apart, % of an even share`, digits: 2 },
        { name: 'stalls', label: `${CLIENTS} clients: workers found blocked` },
        { name: 'recalled', label: `${CLIENTS} clients: taken back` },
        { name: 'steadyApart', label: `${rate}/s: most and least apart, % of an even share`, digits: 2 },
        { name: 'steadyStalls', label: `${rate}/s: workers found blocked` },
        { name: 'steadyRecalled', label: `${rate}/s: taken back` },
        { name: 'failed', label: 'failed connections' },
      ],
      targets: (comparisons) => [
        {
          text: `${CLIENTS} clients: at most ${TARGET_APART} % of an even share apart`,
          ...verdict(comparisons.apart),
        },
        {
          text: `${rate}/s: at most ${TARGET_APART} % of an even share apart`,
          ...verdict(comparisons.steadyApart),
        },
      ],
    },
    options,
  );
}

main();
