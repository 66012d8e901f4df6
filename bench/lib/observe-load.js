'use strict';

// What it costs a cluster under load to be observed with a scrape each second: pairs of the same with and without it.

const { LoadGenerator } = require('./load');
const { withMixedProgram } = require('./mixed-program');
const { readScenarios, readSides } = require('./mixed-scenarios');
const { OpenLoopGenerator } = require('./open-loop');
const { runPairs } = require('./pairs');
const { runTime } = require('./proc');
const { withProgram } = require('./program');
const { formatNumber, printReport } = require('./report');
const { whileScraped } = require('./scrape');

/** @typedef {import('./options').CommonOptions} CommonOptions */

const CLIENTS = 64;
const WARM_UP_SECONDS = 1;
/** As bench/mixed.js has it. */
const MIXED = {
  workloads: '1-20',
  workers: '4',
  loads: 'own',
  connections: 'closed',
  sides: 'corral',
  'reuse-port': false,
  corral: '',
  'corral-settings': '',
  cpu: false,
  'max-rate': Number.POSITIVE_INFINITY,
};
/** Within one percent. */
const LEAST = 0.99;
const MOST = 1.01;

/** @param {{ pid: number, pids: number[] }} program @returns {number} in microseconds, of all its processes */
function timeOf({ pid, pids }) {
  return [pid, ...pids].reduce((sum, one) => sum + runTime(one), 0);
}

/** @param {string} text @param {import('./pairs').Comparison} comparison */
function atMost(text, { ratio, min, max }) {
  const got = `${formatNumber(ratio, 3)} x (${formatNumber(min, 3)} to ${formatNumber(max, 3)})`;
  return { text: `${text} at most ${MOST} x`, met: ratio <= MOST, got };
}

/** @param {CommonOptions & { rate: number }} options */
async function churn(options) {
  const load = new LoadGenerator();
  const { seconds, rate } = options;
  const pairs = await runPairs(options, (side) =>
    withProgram('corral', { workers: 2, lane: true }, async (program) => {
      const job = { protocol: /** @type {const} */ ('http'), port: program.port };
      const port = side === 'corral' ? await program.observe() : undefined;
      return whileScraped(port, async () => {
        await load.run({ ...job, clients: CLIENTS, seconds: WARM_UP_SECONDS });
        const before = timeOf(program);
        const full = await load.run({ ...job, clients: CLIENTS, seconds });
        const cpu = (timeOf(program) - before) / full.completed;
        const steady = await load.run({ ...job, rate, seconds });
        return {
          rate: full.completed / full.seconds,
          cpu,
          p50: steady.latency.p50,
          p99: steady.latency.p99,
        };
      });
    }),
  );
  await load.stop();
  printReport(
    {
      title: `churn: http, one request per connection, 2 workers with lanes, ${CLIENTS} clients; observed with a scrape each second, and not`,
      baseline: 'unobserved',
      pairs,
      rows: [
        { name: 'rate', label: 'saturation: connections/s' },
        { name: 'cpu', label: 'saturation: CPU of all, us/connection', digits: 1 },
        { name: 'p50', label: `${rate}/s: p50, ms`, digits: 2 },
        { name: 'p99', label: `${rate}/s: p99, ms`, digits: 2 },
      ],
      targets: ({ rate: rates, cpu }) => [
        {
          text: `connections/s at least ${LEAST} x`,
          met: rates.ratio >= LEAST,
          got: `${formatNumber(rates.ratio, 3)} x (${formatNumber(rates.min, 3)} to ${formatNumber(rates.max, 3)})`,
        },
        atMost('CPU for a connection', cpu),
      ],
    },
    options,
  );
}

/** @param {CommonOptions} options */
async function mixed(options) {
  const { seconds } = options;
  const [scenario] = readScenarios({ ...MIXED, control: false });
  const { corral } = readSides({ ...MIXED, control: false });
  const { workload, rate, workers, servers, computes, connections } = scenario;
  const load = new OpenLoopGenerator();
  let seed = 0;
  const pairs = await runPairs(options, (side) => {
    // The two of a pair have the same arrivals.
    const own = Math.floor(seed++ / 2);
    return withMixedProgram(corral, { lane: true, servers: 1, workers }, async (program) => {
      const port = side === 'corral' ? await program.observe() : undefined;
      return whileScraped(port, async () => {
        const before = timeOf(program);
        const { latencies, completed, failed, unanswered, dropped } = await load.run({
          arrivals: { workload, rate, seconds: WARM_UP_SECONDS + seconds, seed: own },
          warmUp: WARM_UP_SECONDS,
          ports: program.ports,
          computes,
          connections,
          choice: 'random',
        });
        const [{ p50, p90, p99 }] = latencies;
        const cpu = (timeOf(program) - before) / completed;
        return { p50, p90, p99, cpu, failed: failed + unanswered + dropped };
      });
    });
  });
  await load.stop();
  printReport(
    {
      title: `mixed ${workload}: ${workers} workers with lanes (${servers} at a time), ${formatNumber(rate, 0)} requests/s; observed with a scrape each second, and not`,
      baseline: 'unobserved',
      pairs,
      rows: [
        { name: 'p50', label: 'short requests: p50, ms', digits: 2 },
        { name: 'p90', label: 'short requests: p90, ms', digits: 2 },
        { name: 'p99', label: 'short requests: p99, ms', digits: 2 },
        { name: 'cpu', label: 'CPU of all, us/request', digits: 1 },
        { name: 'failed', label: 'failed' },
      ],
      targets: ({ p50, cpu }) => [atMost('p50 of short requests', p50), atMost('CPU for a request', cpu)],
    },
    options,
  );
}

module.exports = { churn, mixed };
