'use strict';

// Requests that differ in cost: what the short ones wait for the long ones on each side, and what they would wait in
// one queue. See README.md.

const os = require('node:os');
const { readList } = require('./lib/lists');
const { withMixedProgram } = require('./lib/mixed-program');
const { printEnd, printScenario } = require('./lib/mixed-report');
const { readScenarios, readSides } = require('./lib/mixed-scenarios');
const { oneQueue } = require('./lib/one-queue');
const { OpenLoopGenerator } = require('./lib/open-loop');
const { readOptions } = require('./lib/options');
const { progress } = require('./lib/pairs');
const { cpuTime, processorTicks } = require('./lib/proc');
const { latencySummary } = require('./lib/stats');
const { WORKLOADS, schedule, serverCount } = require('./lib/workloads');
const { hasWrk, runWrk } = require('./lib/wrk');

/** @typedef {import('./lib/mixed-program').MixedProgram} MixedProgram */
/** @typedef {import('./lib/mixed-program').MixedSide} MixedSide */
/** @typedef {import('./lib/mixed-report').Result} Result */
/** @typedef {import('./lib/mixed-scenarios').Scenario} Scenario */
/** @typedef {import('./lib/open-loop').Summary} Summary */
/** @typedef {import('./lib/pairs').Sample} Sample */

const WARM_UP_SECONDS = 1;
/** Those that saturate, when there is a connection for each request. */
const CLIENTS = 64;
/** Of the load generator's programs: 60 % of what 4 workers do at 0.5 ms, where it takes half of two cores. */
const MAX_RATE_PER_CORE = 2400;

const options = readOptions({
  seconds: 6,
  workloads: '1-20',
  workers: '4',
  loads: 'own',
  connections: 'closed',
  choice: 'random',
  sides: '',
  'reuse-port': false,
  corral: '',
  'corral-settings': '',
  cpu: false,
  plain: false,
  seed: 1,
  'max-rate': MAX_RATE_PER_CORE * os.availableParallelism(),
});

const choice = /** @type {'random' | 'recent'} */ (
  readList('choice', options.choice, ['random', 'recent'])[0]
);

/** @param {Scenario} scenario @param {number} pair each has others */
function arrivalsOf({ workload, rate }, pair) {
  return { workload, rate, seconds: WARM_UP_SECONDS + options.seconds, seed: options.seed + pair };
}

/**
 * @param {Summary[]} latencies by kind
 * @returns {Sample}
 */
function latencySample([short, long]) {
  /** @type {Sample} */
  const sample = {};
  for (const name of /** @type {const} */ (['p50', 'p90', 'p99', 'p999'])) {
    sample[`short-${name}`] = short[name];
    if (long !== undefined) sample[`long-${name}`] = long[name];
  }
  return sample;
}

/**
 * The same load in one queue.
 * @param {Scenario} scenario
 * @param {number} pair
 */
function calculate(scenario, pair) {
  const { times, kinds, costs } = schedule(arrivalsOf(scenario, pair));
  const latencies = oneQueue({ times, costs, servers: scenario.servers });
  const counted = [...latencies.keys()].filter((i) => times[i] >= WARM_UP_SECONDS * 1000);
  return latencySample(
    WORKLOADS[scenario.workload].kinds.map((_, kind) =>
      latencySummary(counted.filter((i) => kinds[i] === kind).map((i) => latencies[i])),
    ),
  );
}

/**
 * Requests that arrive on schedule.
 * @param {Scenario} scenario
 * @param {number} pair
 * @param {MixedProgram} program
 * @param {OpenLoopGenerator} load
 */
async function arrive(scenario, pair, program, load) {
  const before = cpuTime(load.pid);
  const result = await load.run({
    arrivals: arrivalsOf(scenario, pair),
    warmUp: WARM_UP_SECONDS,
    ports: program.ports,
    computes: scenario.computes,
    connections: scenario.connections,
    choice,
  });
  const { completed, failed, unanswered, dropped, reopened, latencies, lag } = result;
  return {
    completed,
    sample: {
      ...latencySample(latencies),
      loadCpu: (cpuTime(load.pid) - before) / completed,
      lag: lag.p99,
      failed: failed + unanswered + dropped,
      ...(scenario.connections > 0 && { reopened }),
    },
  };
}

/**
 * As many requests as the workers take.
 * @param {Scenario} scenario
 * @param {MixedProgram} program
 */
async function saturate({ workload, connections }, { ports: [port] }) {
  const path = `/compute?${WORKLOADS[workload].kinds[0].cost}`;
  const job = { port, clients: connections || CLIENTS, keepAlive: connections > 0, path };
  const { completed, seconds, failed } = await runWrk({ ...job, seconds: Math.ceil(options.seconds) });
  return { completed, sample: { rate: completed / seconds, failed } };
}

/**
 * @param {Scenario} scenario
 * @param {number} pair
 * @param {MixedProgram} program
 * @param {OpenLoopGenerator} load
 * @returns {Promise<Sample>}
 */
async function measure(scenario, pair, program, load) {
  const { busy, total } = processorTicks();
  const primary = cpuTime(program.pid);
  const workers = sum(program.pids.map(cpuTime));
  const { completed, sample } = await (scenario.saturates
    ? saturate(scenario, program)
    : arrive(scenario, pair, program, load));
  const ticks = processorTicks();
  return {
    ...sample,
    primaryCpu: (cpuTime(program.pid) - primary) / completed,
    workersCpu: (sum(program.pids.map(cpuTime)) - workers) / completed,
    busy: ((ticks.busy - busy) / (ticks.total - total)) * 100,
  };
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * In which order the sides have their turns: each is first in turn, and every other time they go backwards.
 * @param {string[]} names
 * @param {number} pair
 */
function orderOf(names, pair) {
  const first = pair % names.length;
  const order = [...names.slice(first), ...names.slice(0, first)];
  return pair % 2 === 0 ? order : order.reverse();
}

/**
 * @param {Scenario} scenario
 * @param {Record<string, MixedSide>} sides
 * @param {OpenLoopGenerator} load
 * @returns {Promise<Result>}
 */
async function runScenario(scenario, sides, load) {
  const { workload, workers, saturates } = scenario;
  /** @type {Record<string, Sample[]>} */
  const samples = saturates ? {} : { 'one-queue': [] };
  for (const name of Object.keys(sides)) samples[name] = [];
  const programOptions = { lane: !options.plain, servers: serverCount(WORKLOADS[workload]), workers };
  for (let pair = 0; pair < options.pairs; pair++) {
    for (const name of orderOf(Object.keys(sides), pair)) {
      if (!options.json) progress(`${workload}, pair ${pair + 1} of ${options.pairs}, ${name}`);
      const run = (/** @type {MixedProgram} */ program) => measure(scenario, pair, program, load);
      samples[name].push(await withMixedProgram(sides[name], programOptions, run));
    }
    if (!saturates) samples['one-queue'].push(calculate(scenario, pair));
  }
  if (!options.json) progress('');
  return { ...scenario, samples };
}

async function main() {
  const sides = readSides(options);
  const scenarios = readScenarios(options);
  if (scenarios.some(({ saturates }) => saturates) && !hasWrk()) throw new Error('`nothing` needs wrk');
  /** @type {Record<string, string>} */
  const labels = { 'one-queue': 'one queue, calculated' };
  for (const [name, { label }] of Object.entries(sides)) labels[name] = label;
  const load = new OpenLoopGenerator();
  /** @type {Result[]} */
  const results = [];
  try {
    for (const scenario of scenarios) {
      const result = await runScenario(scenario, sides, load);
      if (!options.json) printScenario(result, labels, options);
      results.push(result);
    }
  } finally {
    await load.stop();
  }
  printEnd(results, labels, options);
}

main();
