'use strict';

// One request per connection: how many a second, and what each costs the primary. See README.md.

const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { cpuTime, threadCpuTime } = require('./lib/proc');
const { withProgram } = require('./lib/program');
const { formatNumber, printReport, ratioTarget } = require('./lib/report');
const { hasWrk, runWrk } = require('./lib/wrk');

/** @typedef {import('./lib/program').Program} Program */

const CLIENTS = 64;
const WARM_UP_SECONDS = 1;
const TARGET_RATIO = 1.05;
const TARGET_PRIMARY_CPU = 40;

const options = readOptions({
  workers: 2,
  rate: 2000,
  net: false,
  'no-wrk': false,
  threads: false,
  lane: false,
  none: false,
});
const protocol = options.net ? 'net' : 'http';
const useWrk = protocol === 'http' && !options['no-wrk'] && hasWrk();

/** CPU time per connection by thread name, of the last run. */
let threadNote = '';

/**
 * Saturation: as many as the server takes.
 * @param {Program} program
 * @param {LoadGenerator} load
 * @param {number} seconds
 */
function saturate({ port }, load, seconds) {
  if (useWrk) return runWrk({ port, clients: CLIENTS, seconds: Math.ceil(seconds) });
  return load.run({ protocol, port, clients: CLIENTS, seconds });
}

/**
 * Runs a load from idle to idle, so that the CPU time between is exactly that of its connections.
 * @template T
 * @param {Program} program
 * @param {() => Promise<T>} run
 */
async function measureLoad(program, run) {
  const countsBefore = await program.counts();
  const primaryBefore = cpuTime(program.pid);
  const threadsBefore = threadCpuTime(program.pid);
  const workersBefore = sum(program.pids.map(cpuTime));
  const result = await run();
  const primary = cpuTime(program.pid) - primaryBefore;
  const workers = sum(program.pids.map(cpuTime)) - workersBefore;
  const threads = threadCpuTime(program.pid);
  const counts = (await program.counts()).map((count, i) => count - countsBefore[i]);
  // The workers' own count: what wrk cut off at its end has cost the primary as much as the others.
  const connections = sum(counts);
  threadNote = [...threads]
    .map(([name, cpu]) => `${name} ${formatNumber((cpu - (threadsBefore.get(name) ?? 0)) / connections, 1)}`)
    .join(', ');
  return {
    result,
    primaryCpu: primary / connections,
    workersCpu: workers / connections,
    // The largest share in percent; 100 / workers is perfect.
    largestShare: (Math.max(...counts) / connections) * 100,
  };
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

async function main() {
  const load = new LoadGenerator();
  /** @type {string[]} */
  const notes = [];
  const { workers, rate, seconds } = options;
  const pairs = await runPairs(options, (side) =>
    withProgram(
      side,
      { workers, protocol, lane: options.lane, sharedBuiltin: options.none },
      async (program) => {
        await saturate(program, load, WARM_UP_SECONDS);
        const full = await measureLoad(program, () => saturate(program, load, seconds));
        if (options.threads)
          notes.push(`primary's threads at saturation, us/connection, ${side}: ${threadNote}`);
        const steady = await measureLoad(program, () =>
          load.run({ protocol, port: program.port, rate, seconds }),
        );
        if (options.threads)
          notes.push(`primary's threads at ${rate}/s, us/connection, ${side}: ${threadNote}`);
        return {
          rate: full.result.completed / full.result.seconds,
          failed: full.result.failed + steady.result.failed + steady.result.unanswered,
          primaryCpu: full.primaryCpu,
          workersCpu: full.workersCpu,
          largestShare: full.largestShare,
          steadyPrimaryCpu: steady.primaryCpu,
          steadyP50: steady.result.latency.p50,
          steadyP99: steady.result.latency.p99,
          steadyShare: steady.largestShare,
        };
      },
    ),
  );
  await load.stop();
  const generator = useWrk ? 'wrk' : 'our own load generator';
  printReport(
    {
      title: `churn: ${protocol}, one request per connection, ${workers} workers, ${CLIENTS} clients, ${generator}`,
      pairs,
      rows: [
        { name: 'rate', label: 'saturation: connections/s' },
        { name: 'primaryCpu', label: 'saturation: primary CPU, us/connection', digits: 1 },
        { name: 'workersCpu', label: 'saturation: workers CPU, us/connection', digits: 1 },
        { name: 'largestShare', label: 'saturation: busiest worker, %', digits: 1 },
        { name: 'steadyPrimaryCpu', label: `${rate}/s: primary CPU, us/connection`, digits: 1 },
        { name: 'steadyP50', label: `${rate}/s: p50, ms`, digits: 2 },
        { name: 'steadyP99', label: `${rate}/s: p99, ms`, digits: 2 },
        { name: 'steadyShare', label: `${rate}/s: busiest worker, %`, digits: 1 },
        { name: 'failed', label: 'failed connections' },
      ],
      targets: ({ rate: rates, primaryCpu }) => [
        ratioTarget('connections/s', rates, TARGET_RATIO),
        {
          text: `primary CPU at saturation at most ${TARGET_PRIMARY_CPU} us/connection`,
          met: primaryCpu.corral <= TARGET_PRIMARY_CPU,
          got: `${formatNumber(primaryCpu.corral, 1)} us (built-in: ${formatNumber(primaryCpu.builtin, 1)} us)`,
        },
      ],
      notes,
    },
    options,
  );
}

main();
